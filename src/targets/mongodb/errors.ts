/**
 * What every answer and every failure of MongoDB means: two tables, by server code and by class of the driver, and
 * nothing but data. Nothing is judged by message text where there is a code. Read by `judge.ts`.
 */

/** What one error means for a record, and beyond it. */
export type Verdict =
  /** Our id already there, or a unique index of the user: `reply.ts` tells which. */
  | "duplicateKey"
  /** The database or collection name: the record's fault when a message named it, else the settings'. */
  | "badName"
  | "rejected"
  | "retry"
  /** Nothing is known of it: the record is sent by itself, five times, before it counts as rejected. */
  | "retryAlone"
  | "throttle"
  | "split"
  | "hold"
  | "unavailable"
  | "config";

/** Where a server code stood: the whole command failed, one document of it did, or only its write concern. */
export type Level = "command" | "document" | "writeConcern";

export interface CodeRow {
  readonly what: string;
  readonly codes: readonly (readonly [code: number, name: string])[];
  readonly command: Verdict;
  readonly document: Verdict;
  readonly writeConcern: Verdict;
  /** How long to stay away, ms. */
  readonly retryAfterMs?: number;
}

/** Elections are usually over in ten seconds, and the driver finds the new primary by itself: look again soon. */
const ELECTION_RETRY_MS = 1_000;

const everywhere = (verdict: Verdict) => ({ command: verdict, document: verdict, writeConcern: verdict });
/** What is wrong with one document is its own fault; a whole command refused for it would empty the queue, so it waits. */
const documentFault = { command: "hold", document: "rejected", writeConcern: "retry" } as const;

/**
 * Server codes, by group. Numbers and names: mongodb/mongo, src/mongo/base/error_codes.yml. The label
 * RetryableWriteError is not consulted: a mongos that has retried already leaves it out.
 */
export const SERVER_CODES: readonly CodeRow[] = [
  {
    what: "a unique index holds this value already",
    codes: [
      [11000, "DuplicateKey"],
      // 11001 and 12582 are what servers before 2.6, and some look-alikes, say.
      [11001, "DuplicateKeyOnUpdate"],
      [12582, "DuplicateKeyOnShard"],
    ],
    command: "hold",
    document: "duplicateKey",
    writeConcern: "retry",
  },
  {
    what: "the document does not pass the validator of the collection",
    codes: [[121, "DocumentValidationFailure"]],
    ...documentFault,
  },
  {
    what: "the server does not take such a value (an array as _id, a time field that is no date, a key with $)",
    codes: [[2, "BadValue"]],
    ...documentFault,
  },
  {
    what: "the document cannot be read by the server",
    codes: [
      [9, "FailedToParse"],
      [14, "TypeMismatch"],
      [15, "Overflow"], // nested deeper than about 180 levels
      [16, "InvalidLength"],
      [22, "InvalidBSON"],
      [378, "NonConformantBSON"],
    ],
    ...documentFault,
  },
  {
    what: "a field name or the shape of the update is not allowed",
    codes: [
      [28, "PathNotViable"],
      [40, "ConflictingUpdateOperators"],
      [52, "DollarPrefixedFieldName"],
      [53, "InvalidIdField"],
      [54, "NotSingleValueField"],
      [55, "InvalidDBRef"],
      [56, "EmptyFieldName"],
      [57, "DottedFieldName"],
      [66, "ImmutableField"],
    ],
    ...documentFault,
  },
  {
    what: "the shard key is missing: add its fields to the key fields",
    codes: [[61, "ShardKeyNotFound"]],
    ...documentFault,
  },
  {
    what: "the document is too large",
    codes: [
      [116, "DocTooLargeForCapped"],
      [10003, "CannotGrowDocumentInCappedNamespace"],
      [10334, "BSONObjectTooLarge"],
      [17419, "DocumentTooLargeAfterUpdate"],
      [17420, "DocumentTooLargeAfterUpdate"],
    ],
    command: "split",
    document: "rejected",
    writeConcern: "retry",
  },
  {
    what: "an indexed value is too long (servers before 4.2)",
    codes: [[17280, "KeyTooLong"]],
    ...documentFault,
  },
  {
    what: "the database or collection name is not allowed, or differs from an existing one by case only",
    codes: [
      [73, "InvalidNamespace"],
      [13297, "DatabaseDifferCase"],
    ],
    command: "badName",
    document: "badName",
    writeConcern: "retry",
  },
  {
    what: "the user may not write here: grant it readWrite on this database",
    codes: [[13, "Unauthorized"]],
    ...everywhere("hold"),
  },
  {
    what: "the server does not accept the login: check user, password, authentication database and mechanism",
    codes: [
      [11, "UserNotFound"],
      [18, "AuthenticationFailed"],
      [31, "RoleNotFound"],
      [214, "AuthenticationRestrictionUnmet"],
      [334, "MechanismUnavailable"],
      [337, "AuthenticationAbandoned"],
      [391, "ReauthenticationRequired"],
      [392, "InvalidJWT"],
      [404, "LDAPRoleAcquisitionError"],
    ],
    ...everywhere("config"),
  },
  {
    // One code for bad credentials, a used-up storage quota, the collection limit and forbidden commands.
    what: "MongoDB Atlas refused",
    codes: [[8000, "AtlasError"]],
    ...everywhere("config"),
  },
  {
    what: "this server cannot do retryable writes: add retryWrites=false to the extra options",
    codes: [[20, "IllegalOperation"]],
    ...everywhere("config"),
  },
  {
    what: "the collection does not exist and may not be created",
    codes: [[26, "NamespaceNotFound"]],
    ...everywhere("hold"),
  },
  {
    what: "the collection has just been created by another client",
    codes: [[48, "NamespaceExists"]],
    ...everywhere("retry"),
  },
  {
    what: "the server does not support this here (a view cannot be written to)",
    codes: [
      [59, "CommandNotFound"],
      [72, "InvalidOptions"],
      [115, "CommandNotSupported"],
      [166, "CommandNotSupportedOnView"],
      [238, "NotImplemented"],
      [322, "APIVersionError"],
      [323, "APIStrictError"],
      [324, "APIDeprecationError"],
      [347, "APIMismatchError"],
      [352, "UnsupportedOpQueryCommand"],
      [50768, "NotARetryableWriteCommand"],
    ],
    ...everywhere("hold"),
  },
  {
    what: "too few servers confirmed the write in time",
    codes: [
      [64, "WriteConcernTimeout"],
      [75, "WriteConcernLegacyOK"],
    ],
    ...everywhere("retry"),
  },
  {
    what: "the server cannot satisfy this write concern: choose another",
    codes: [
      [79, "UnknownReplWriteConcern"],
      [100, "UnsatisfiableWriteConcern"],
    ],
    ...everywhere("hold"),
  },
  {
    what: "the router cannot reach its servers",
    codes: [
      [6, "HostUnreachable"],
      [7, "HostNotFound"],
      [89, "NetworkTimeout"],
      [202, "NetworkInterfaceExceededTimeLimit"],
      [384, "ConnectionError"],
      [9001, "SocketException"],
    ],
    ...everywhere("unavailable"),
  },
  {
    what: "the server is not the primary, or is shutting down (for ever so on a direct connection to a secondary)",
    codes: [
      [91, "ShutdownInProgress"],
      [189, "PrimarySteppedDown"],
      [372, "CloseConnectionForShutdownCommand"],
      [10058, "LegacyNotPrimary"],
      [10107, "NotWritablePrimary"],
      [11600, "InterruptedAtShutdown"],
      [11602, "InterruptedDueToReplStateChange"],
      [13435, "NotPrimaryNoSecondaryOk"],
      [13436, "NotPrimaryOrSecondary"],
    ],
    ...everywhere("unavailable"),
    retryAfterMs: ELECTION_RETRY_MS,
  },
  {
    what: "the replica set has no primary at the moment",
    codes: [
      [133, "FailedToSatisfyReadPreference"],
      [216, "ElectionInProgress"],
    ],
    ...everywhere("unavailable"),
    retryAfterMs: ELECTION_RETRY_MS,
  },
  {
    what: "the server is out of disk space or files, or its data is damaged",
    codes: [
      [264, "TooManyFilesOpen"],
      [301, "DataCorruptionDetected"],
      [12501, "QuotaExceeded"], // old hosters
      [14031, "OutOfDiskSpace"],
    ],
    ...everywhere("unavailable"),
  },
  {
    what: "an administrator has blocked all writes",
    codes: [[371, "UserWritesBlocked"]],
    ...everywhere("unavailable"),
  },
  {
    what: "the server is busy",
    codes: [
      [24, "LockTimeout"],
      [46, "LockBusy"],
      [50, "MaxTimeMSExpired"],
      [112, "WriteConflict"],
      [117, "ConflictingOperationInProgress"],
      [146, "ExceededMemoryLimit"],
      [237, "CursorKilled"],
      [262, "ExceededTimeLimit"],
      [279, "ClientDisconnect"],
      [290, "TransactionExceededLifetimeLimitSeconds"],
      [355, "InterruptedDueToStorageChange"],
      [363, "RetryableTransactionInProgress"],
      [365, "TemporarilyUnavailable"],
      [402, "ResourceExhausted"],
      [11601, "Interrupted"],
      [46841, "ClientMarkedKilled"],
    ],
    ...everywhere("throttle"),
  },
  {
    what: "the server asks for fewer requests",
    codes: [
      [433, "AdmissionQueueOverflow"],
      [449, "RateLimitExceeded"],
      [450, "PooledConnectionAcquisitionRejected"],
      [462, "IngressRequestRateLimitExceeded"],
    ],
    ...everywhere("throttle"),
  },
  {
    // Azure Cosmos DB's answer; its documentation calls the number by no name.
    what: "the request rate is too large",
    codes: [[16500, "RequestRateTooLarge"]],
    ...everywhere("throttle"),
  },
  {
    what: "the data is being moved between servers",
    codes: [
      [63, "StaleShardVersion"],
      [150, "StaleEpoch"],
      [227, "CannotImplicitlyCreateCollection"],
      [249, "StaleDbVersion"],
      [319, "MovePrimaryInProgress"],
      [338, "ReshardCollectionInProgress"],
      [343, "ShardCannotRefreshDueToLocksHeld"],
      [453, "InterruptedDueToReshardingCriticalSection"],
      [13388, "StaleConfig"],
    ],
    ...everywhere("retry"),
  },
  {
    what: "the server has just restarted or is dropping this database",
    codes: [
      [206, "NoSuchSession"],
      [211, "KeyNotFound"],
      [215, "DatabaseDropPending"],
      [225, "TransactionTooOld"],
      [251, "NoSuchTransaction"],
    ],
    ...everywhere("retry"),
  },
  {
    // What any unlisted code gets too.
    what: "the server reports an error of its own",
    codes: [
      [1, "InternalError"],
      [8, "UnknownError"],
      [65, "MultipleErrorsOccurred"],
      [96, "OperationFailed"],
      [125, "CommandFailed"],
    ],
    command: "unavailable",
    document: "retryAlone",
    writeConcern: "retry",
  },
];

export interface ClassRow {
  readonly what: string;
  /** Names of driver classes; their subclasses that are not listed themselves are meant too. */
  readonly classes: readonly string[];
  /** "byCode": the server's code decides. */
  readonly verdict: Verdict | "byCode";
  /** Restricts the row to errors whose cause chain holds one of these codes or classes. */
  readonly whenCausedBy?: readonly string[];
  /** Restricts the row to errors of this system call (DNS, which the driver passes on as it comes). */
  readonly whenSyscall?: readonly string[];
}

/** Certificates that no waiting will mend. Node.js, "TLS certificate error codes". */
const CERTIFICATE_CODES = [
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "CERT_SIGNATURE_FAILURE",
  "CERT_HAS_EXPIRED",
  "CERT_REVOKED",
  "ERR_TLS_CERT_ALTNAME_INVALID",
];

const CONNECTING = ["MongoServerSelectionError", "MongoNetworkError"];
const DNS_CALLS = ["querySrv", "queryTxt"];

/** Classes of mongodb 7 (src/error.ts, src/cmap/errors.ts) and what else its calls throw. The first row that fits decides. */
export const DRIVER_CLASSES: readonly ClassRow[] = [
  {
    what: "a certificate is not accepted: check the CA and the host name",
    classes: CONNECTING,
    whenCausedBy: CERTIFICATE_CODES,
    verdict: "config",
  },
  {
    what: "the server wants a client certificate",
    classes: CONNECTING,
    whenCausedBy: ["ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED"],
    verdict: "config",
  },
  {
    // All that TLS 1.2 says of a certificate that it misses.
    what: "the server broke off the TLS handshake: does it want a client certificate?",
    classes: CONNECTING,
    whenCausedBy: ["ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE"],
    verdict: "config",
  },
  {
    what: "the server does not accept our client certificate: check it, and the CA that the server trusts",
    classes: CONNECTING,
    whenCausedBy: [
      "ERR_SSL_TLSV1_ALERT_UNKNOWN_CA",
      "ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE",
      "ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED",
      "ERR_SSL_SSLV3_ALERT_CERTIFICATE_UNKNOWN",
    ],
    verdict: "config",
  },
  {
    // A board without a battery-backed clock boots in the past: this mends itself.
    what: "the server's certificate is not valid yet: is the clock of this device right?",
    classes: CONNECTING,
    whenCausedBy: ["CERT_NOT_YET_VALID"],
    verdict: "unavailable",
  },
  {
    what: "the server is too old or too new for this driver (servers 4.4 to 9.0)",
    classes: CONNECTING,
    whenCausedBy: ["MongoCompatibilityError"],
    verdict: "config",
  },
  {
    what: "the server refused the connection",
    classes: CONNECTING,
    whenCausedBy: ["MongoServerError"],
    verdict: "byCode",
  },
  { what: "no usable server answered in time", classes: ["MongoServerSelectionError"], verdict: "unavailable" },
  {
    what: "the first connection failed",
    // Every operation fails at once from now on, until connect() is called again: `connection.ts` does.
    classes: ["MongoTopologyClosedError"],
    verdict: "unavailable",
  },
  {
    what: "the connection is being closed",
    classes: ["MongoNotConnectedError", "MongoClientClosedError", "MongoServerClosedError", "PoolClosedError"],
    verdict: "retry",
  },
  {
    // The labels SystemOverloadedError and RetryableError come with every failed connection attempt and say nothing.
    what: "the connection failed",
    classes: ["MongoNetworkError", "MongoNetworkTimeoutError", "PoolClearedError", "PoolClearedOnNetworkError"],
    verdict: "unavailable",
  },
  {
    what: "the server did not answer in time",
    classes: ["MongoOperationTimeoutError", "AbortError", "TimeoutError"],
    verdict: "unavailable",
  },
  {
    what: "all connections are in use: the pool is smaller than the concurrency",
    classes: ["WaitQueueTimeoutError"],
    verdict: "retry",
  },
  {
    what: "the answer was not understood",
    classes: [
      "MongoUnexpectedServerResponseError",
      "MongoDecompressionError",
      "MongoStalePrimaryError",
      "MongoExpiredSessionError",
    ],
    verdict: "unavailable",
  },
  { what: "the write concern failed", classes: ["MongoWriteConcernError"], verdict: "byCode" },
  { what: "the server refused", classes: ["MongoServerError"], verdict: "byCode" },
  {
    what: "a connection setting is wrong",
    // MongoRuntimeError ("Unable to parse host") and its like are thrown by the constructor; those that are thrown
    // later stand above.
    classes: [
      "MongoParseError",
      "MongoAPIError",
      "MongoInvalidArgumentError",
      "MongoMissingCredentialsError",
      "MongoMissingDependencyError",
      "MongoRuntimeError",
      "MongoCompatibilityError",
    ],
    verdict: "config",
  },
  {
    what: "a value cannot be written as BSON",
    // Thrown before anything is sent; one bad document fails the whole call, so the culprit is looked for.
    classes: ["BSONError", "BSONVersionError", "RangeError", "TypeError"],
    verdict: "rejected",
  },
  {
    what: "the DNS knows no such mongodb+srv name: check the host name",
    classes: ["Error"],
    whenSyscall: DNS_CALLS,
    whenCausedBy: ["ENODATA"],
    verdict: "config",
  },
  {
    what: "the DNS cannot be asked",
    classes: ["Error"],
    whenSyscall: DNS_CALLS,
    whenCausedBy: ["ENOTFOUND", "ESERVFAIL", "ETIMEOUT", "EREFUSED", "ECONNREFUSED"],
    verdict: "unavailable",
  },
  // Unknown: never rejected at once.
  { what: "the delivery failed", classes: ["Error"], verdict: "unavailable" },
];

/** What a network or TLS failure is about, by Node's code, for the message alone: verdicts are above. */
export const SYSTEM_CODES: ReadonlyMap<string, string> = new Map([
  ["ECONNREFUSED", "nothing listens there: is the server running, and the port right?"],
  ["ENOTFOUND", "the host name is not known: is it spelled right, and has this device a DNS server?"],
  ["EAI_AGAIN", "the DNS does not answer: is this device online?"],
  ["ESERVFAIL", "the DNS does not answer: is this device online?"],
  ["ETIMEOUT", "the DNS does not answer: is this device online?"],
  ["EREFUSED", "the DNS refuses to answer"],
  ["EHOSTUNREACH", "there is no way to this host: is this device online?"],
  ["ENETUNREACH", "there is no way to this network: is this device online?"],
  ["ETIMEDOUT", "the host does not answer: is the address right, and does a firewall stand between?"],
  ["ECONNRESET", "the connection was cut"],
  ["EPIPE", "the connection was cut"],
  ["ERR_SSL_WRONG_VERSION_NUMBER", "the server does not speak TLS on this port"],
]);
