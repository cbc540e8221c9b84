/** What other packages may import. */
export type { CodecTag, Encoded, LogRecord, Offset, Routing } from "./record.js";
export { uuidText } from "./record.js";
export {
  type Answer,
  type Consequence,
  DELIVERED,
  DUPLICATE,
  type Outcome,
  type Rejection,
  type ResumePoint,
  type Target,
  TargetConfigError,
  type TargetTraits,
  TargetUnavailableError,
} from "./targets/target.js";
export { decode, decodeJson, jsonText } from "./codec.js";
export { FileTarget } from "./targets/file/target.js";
export { Runtime, type RuntimeEvent, type RuntimeOptions } from "./runtime/runtime.js";
export { Exporter, type ExporterOptions } from "./runtime/exporter.js";
export { type ExporterStatus, Member, type MemberOptions, type Rejected } from "./runtime/member.js";
export { Pool, type PoolOptions } from "./runtime/pool.js";
export { type Dropped, NotAcceptedError } from "./runtime/limits.js";
export { checkFlushSettings, DEFAULT_FLUSH, type FlushSettings } from "./runtime/settings.js";
