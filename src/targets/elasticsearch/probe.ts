/**
 * Is Elasticsearch there? One request without side effects, which even a login with hardly any privilege may make.
 * It proves neither disk nor permissions: the first batch does.
 */
import { TargetUnavailableError } from "../target.js";
import { PRODUCT_HEADER, RequestError, type Connection, type Response } from "./connection.js";
import { thrownFor } from "./errors.js";

const PROBE_MS = 5_000;

/** @throws {TargetUnavailableError | TargetConfigError} the latter for a login that is refused */
export async function probeElasticsearch(connection: Connection, signal: AbortSignal): Promise<void> {
  const { settings } = connection;
  const timeoutMs = Math.min(PROBE_MS, settings.requestTimeoutMs);
  let response: Response;
  try {
    // Not HEAD: the client closes the connection after it, and the next batch would pay for another TLS handshake.
    const request = { method: "GET", path: "/", query: { filter_path: "version.number" } } as const;
    response = await connection.request(request, signal, timeoutMs);
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    const { failure } = error;
    // A limited key may not ask for the name of the cluster, but only Elasticsearch refuses it with this header.
    if (failure.statusCode === 403 && (error.isFromElasticsearch || settings.compatibleServer)) return;
    throw (
      (failure.statusCode === undefined || failure.statusCode === 401 ? thrownFor(failure) : undefined) ??
      new TargetUnavailableError(failure.message, {
        code: failure.code,
        ...(failure.retryAfterMs === undefined ? {} : { retryAfterMs: failure.retryAfterMs }),
      })
    );
  }
  const isElasticsearch = response.headers[PRODUCT_HEADER] !== undefined || settings.compatibleServer;
  if (response.statusCode === 200 && isElasticsearch) return;
  // The client takes a redirect for an answer.
  throw new TargetUnavailableError(
    `What answers there (status ${response.statusCode}) is not Elasticsearch: a login page of the network, or a wrong address?`,
    { code: "not-elasticsearch" },
  );
}
