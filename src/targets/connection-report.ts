/** What a test of a connection, asked for by a user in a dialog, found out. */
export interface ConnectionReport {
  /** Records could be delivered, as far as this can be known without delivering one. */
  readonly ok: boolean;
  /** Sentences for the user, the most important first. Without credentials. */
  readonly messages: readonly string[];
}
