/** Targets for the tests of this folder, each closed after its test, and every client version they are to work with. */
import { driver } from "../../../src/targets/elasticsearch/driver.js";
import type { Driver } from "../../../src/targets/elasticsearch/driver.js";
import { checkElasticsearchOptions, type ElasticsearchOptions } from "../../../src/targets/elasticsearch/options.js";
import { ElasticsearchTarget, type ElasticsearchParts } from "../../../src/targets/elasticsearch/target.js";
import type { Outcome } from "../../../src/targets/target.js";
import { olderDriver } from "../../servers/elasticsearch.js";

export const { signal: never }: { readonly signal: AbortSignal } = new AbortController();

export interface ClientVersion {
  readonly name: string;
  load(): Promise<Driver>;
}

export const CLIENTS: readonly ClientVersion[] = [
  { name: "client 9.4", load: () => Promise.resolve(driver) },
  { name: "client 8.19", load: olderDriver },
];

const opened: ElasticsearchTarget[] = [];

export function makeTarget(
  options: Partial<ElasticsearchOptions>,
  parts: ElasticsearchParts = {},
): ElasticsearchTarget {
  const target = new ElasticsearchTarget(checkElasticsearchOptions({ index: "readings", ...options }), parts);
  opened.push(target);
  return target;
}

export async function openTarget(
  options: Partial<ElasticsearchOptions>,
  parts: ElasticsearchParts = {},
): Promise<ElasticsearchTarget> {
  const target = makeTarget(options, parts);
  await target.open(never);
  return target;
}

/** Call in `afterEach`. */
export async function closeTargets(): Promise<void> {
  await Promise.all(opened.splice(0).map((target) => target.close()));
}

export function kindsOf(outcomes: readonly Outcome[]): string[] {
  return outcomes.map((outcome) => outcome.kind);
}
