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
export type { FileTargetOptions } from "./targets/file/options.js";
export { Exporter } from "./library/exporter.js";
export { Sender } from "./library/sender.js";
export {
  ElasticsearchExporter,
  type ElasticsearchExporterOptions,
  FileExporter,
  type FileExporterOptions,
  MongoDBExporter,
  type MongoDBConnectionOptions,
  type MongoDBExporterOptions,
} from "./library/exporters.js";
export { ExporterPool, type ExporterPoolOptions, type PoolMember } from "./library/exporter-pool.js";
export {
  type CommonOptions,
  type FlushOptions,
  OptionError,
  type RuntimeSettings,
  type SenderOptions,
} from "./library/options.js";
export { type DeadLetter, type DeadLetterFilter, DeadLetters } from "./library/dead-letters.js";
export type { DeliveryReport } from "./library/report.js";
export type { ExporterStatus, MemberOptions, Rejected } from "./runtime/member.js";
export { NotAcceptedError } from "./runtime/limits.js";
export { PayloadError } from "./codec/payload-error.js";
export { FolderInUseError } from "./log/lock.js";
export { type TransformContext, TransformError, type TransformFunction } from "./transform.js";
export type { FlushReport } from "./delivery/events.js";
export { checkFlushSettings, DEFAULT_FLUSH, type FlushSettings } from "./runtime/settings.js";
export { MongoOptionsError } from "./targets/mongodb/options.js";
export { ElasticsearchOptionsError } from "./targets/elasticsearch/options.js";
