/**
 * The date in a name: of an index, of a file. In UTC, so that a device that travels, or changes to summer time, neither
 * repeats an hour nor leaves one out.
 */

const HOUR_MS = 3_600_000;

/**
 * Replaces `%Y` year, `%m` month, `%d` day, `%H` hour, `%j` day of the year, `%G` and `%V` ISO year and week, `%%` a
 * percent sign. Anything else stays as it is. No code is finer than an hour.
 */
export function formatUtc(pattern: string, atMs: number): string {
  const at = new Date(atMs);
  return pattern.replace(/%(.)/gu, (whole, code: string) => {
    switch (code) {
      case "Y":
        return padded(at.getUTCFullYear(), 4);
      case "m":
        return padded(at.getUTCMonth() + 1, 2);
      case "d":
        return padded(at.getUTCDate(), 2);
      case "H":
        return padded(at.getUTCHours(), 2);
      case "j":
        return padded(dayOfYear(at) + 1, 3);
      case "G":
        return padded(thursdayOf(at).getUTCFullYear(), 4);
      case "V":
        return padded(Math.floor(dayOfYear(thursdayOf(at)) / 7) + 1, 2);
      case "%":
        return "%";
      default:
        return whole;
    }
  });
}

function padded(value: number, digits: number): string {
  return String(value).padStart(digits, "0");
}

/** From 0. */
function dayOfYear(at: Date): number {
  const dayMs = 24 * HOUR_MS;
  return Math.floor(at.getTime() / dayMs) - Math.floor(Date.UTC(at.getUTCFullYear(), 0, 1) / dayMs);
}

/** An ISO week belongs to the year of its Thursday. */
function thursdayOf(at: Date): Date {
  const weekday = (at.getUTCDay() + 6) % 7;
  return new Date(at.getTime() + (3 - weekday) * 24 * HOUR_MS);
}
