/**
 * A process that appends until it is killed: run by `kill-9.test.ts`, which plays the log on the other side of the
 * channel. Arguments: file, first record that is not confirmed, state in hex.
 */
import { FileTarget } from "../../../src/targets/file/target.js";
import { numberedRecord } from "./numbered-record.js";

const [file, first, state] = process.argv.slice(2) as [string, string, string];
const signal = new AbortController().signal;
let next = Number(first);

function tell(stored: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    process.send!({ next, state: Buffer.from(stored).toString("hex") }, () => resolve());
  });
}

async function run(): Promise<void> {
  const target = new FileTarget({ file });
  await target.open(signal, {
    state: state === "" ? undefined : Buffer.from(state, "hex"),
    async *records() {
      for (let n = next; ; n++) yield numberedRecord(n);
    },
    confirm(upTo, stored) {
      next = upTo.offset + 1;
      void tell(stored);
    },
    note: tell,
  });
  for (let batch = 1; ; batch++) {
    const records = Array.from({ length: 1 + ((batch * 7_919) % 400) }, (_, i) => numberedRecord(next + i));
    const answer = await target.deliver(records, signal);
    next += answer.outcomes.filter(({ kind }) => kind !== "retry").length;
    // The cursor is stored now and then, as a log does it: a kill between two of them is what this is about.
    if (batch % 3 === 0) await tell(answer.state!);
  }
}

void run();
