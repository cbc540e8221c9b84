/**
 * The client library, by itself in a file so that it is loaded (32 MB on disk, 30 MB in memory) only when an
 * Elasticsearch exporter exists: `await import("./driver.js")`. Importing the package that way directly would load its
 * second, ECMAScript twin.
 */
import { Client, HttpConnection, Transport } from "@elastic/elasticsearch";

/** What is used of the client library. Version 8.19 of it fits as well. */
export interface Driver {
  readonly Client: typeof Client;
  readonly HttpConnection: typeof HttpConnection;
  readonly Transport: typeof Transport;
}

export const driver: Driver = { Client, HttpConnection, Transport };
