/** Values for the property tests of the log. */
import fc from "fast-check";

/** `fc.record`, with objects as our own code makes them. */
export function record<T>(model: { readonly [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> {
  return fc.record<T>(model, { noNullPrototype: true });
}
