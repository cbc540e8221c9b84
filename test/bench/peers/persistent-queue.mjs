/**
 * The package node-persistent-queue, in a process of its own. Told over IPC what to do:
 * { open: { modules, path, readings } }, then { insert: count }.
 */
import { createRequire } from "node:module";
import { join } from "node:path";

let queue;
let readings;

async function answer({ open, insert: count }) {
  if (open !== undefined) {
    const Queue = createRequire(join(open.modules, "x.js"))("node-persistent-queue");
    readings = open.readings;
    queue = new Queue(open.path);
    await queue.open();
    return {};
  }
  const startedMs = performance.now();
  for (let i = 0; i < count; i++) {
    queue.add(readings[i % readings.length]);
    // It tells of each job that is in its database.
    await new Promise((resolve) => queue.once("add", resolve));
  }
  return { rate: (count / (performance.now() - startedMs)) * 1_000 };
}

process.on("message", (message) => {
  answer(message).then(
    (told) => process.send(told),
    (error) => process.send({ error: error.message }),
  );
});
