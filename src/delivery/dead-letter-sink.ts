/**
 * Where the delivery loop puts a record that its target will never take.
 */
import type { LogRecord } from "../record.js";
import type { Rejection } from "../targets/target.js";

export interface DeadLetterSink {
  /**
   * Keeps the record with the reason. Only when this has resolved is the record confirmed in the log, so it must then
   * survive what the log itself survives. Many calls are made at once, so that one sync can serve them all. A budget
   * that is full is the sink's own affair, and counted there.
   * @throws when the record could not be kept: it stays in the log, and is offered to its target again later
   */
  setAside(record: LogRecord, rejection: Rejection): Promise<void>;
}
