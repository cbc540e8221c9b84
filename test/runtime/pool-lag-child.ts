/** A member of a pool that falls far behind, in a process whose memory and CPU are used for nothing else. */
import { poolLag, type LagOptions } from "../soak/pool-lag.js";

process.once("message", (options) => {
  poolLag(options as LagOptions)
    .then((figures) => process.send!(figures, () => process.disconnect()))
    .catch((error: unknown) => {
      process.stderr.write(`${String(error)}\n`);
      process.exit(1);
    });
});
