/**
 * SQLite as a queue, a row for each record, in a process of its own because its driver needs a newer Node.js than the
 * one measured. Told over IPC what to do: { open: { path, synchronous, readings } }, then { insert: count }.
 */
import { DatabaseSync } from "node:sqlite";

let database;
let statement;
let readings;

process.on("message", (message) => {
  if (message.open !== undefined) {
    const { path, synchronous } = message.open;
    readings = message.open.readings;
    database = new DatabaseSync(path);
    database.exec("PRAGMA journal_mode = WAL");
    database.exec(`PRAGMA synchronous = ${synchronous}`);
    database.exec("CREATE TABLE queue (id INTEGER PRIMARY KEY, payload TEXT NOT NULL)");
    statement = database.prepare("INSERT INTO queue (payload) VALUES (?)");
    process.send({ ok: true });
    return;
  }
  const count = message.insert;
  const startedMs = performance.now();
  for (let i = 0; i < count; i++) statement.run(JSON.stringify(readings[i % readings.length]));
  process.send({ rate: (count / (performance.now() - startedMs)) * 1_000 });
});
process.on("disconnect", () => database?.close());
