/**
 * The driver, for `await import("./driver.js")`: it costs 9 MB on disk and 22 MB of memory, so it is loaded only when a
 * target needs it. Through a CommonJS file of our own, since `import("mongodb")` may give another copy of its classes.
 */
export { MongoClient } from "mongodb";
