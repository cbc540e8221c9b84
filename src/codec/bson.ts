/**
 * Loads `bson` when the first payload needs it: it costs some megabytes, and most flows carry plain JSON.
 * The same major version as the mongodb driver's, so that its classes are the driver's.
 */
import type * as BsonModule from "bson";

type Bson = typeof BsonModule;

let loaded: Bson | undefined;

export function bson(): Bson {
  // `require`, not `import()`: encoding is synchronous, and the driver too loads the CommonJS twin.
  return (loaded ??= require("bson") as Bson);
}
