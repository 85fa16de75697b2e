/** Redis errors are recognised here and nowhere else: by their first word, or by what ioredis does when there is no answer. */

/** What is known after a command failed. */
export type CommandFailure =
  /** Redis answered with an error: the command did not run. */
  | 'refused'
  /** Nothing has happened, and it is worth another attempt: ioredis never wrote it, or it came to the wrong node. */
  | 'unsent'
  /** The connection was lost before the answer came: it ran once or not at all. */
  | 'unknown';

/** Classifies what a command's promise was rejected with. */
export function commandFailure(error: unknown): CommandFailure {
  if (isReplyError(error)) {
    return isDisplaced(error) ? 'unsent' : 'refused';
  }
  // The only error of ioredis that is sure to come before the write (Redis.sendCommand, ioredis 5 and 6).
  return error instanceof Error && error.message.startsWith("Stream isn't writeable") ? 'unsent' : 'unknown';
}

/** Whether Redis itself answered with this error. The name is that of redis-errors, which ioredis 5 and 6 use. */
export function isReplyError(error: unknown): error is Error {
  return error instanceof Error && error.name === 'ReplyError';
}

/**
 * Redis answered that another node is to be asked, or this one later: after a failover, while slots move, while a
 * cluster elects a master. Nothing ran.
 */
export function isDisplaced(error: unknown): boolean {
  return DISPLACED.has(errorWord(error));
}

const DISPLACED = new Set([
  'MOVED',
  'ASK',
  'TRYAGAIN',
  'CLUSTERDOWN',
  'READONLY',
  'MASTERDOWN',
  'LOADING',
  'UNBLOCKED',
]);

/** The first word of an error that Redis answered with, such as `NOGROUP`; `''` for any other error. */
export function errorWord(error: unknown): string {
  return isReplyError(error) ? (error.message.replace(RAISED_IN_SCRIPT, '').split(' ', 1)[0] ?? '') : '';
}

/** What Redis 6.2 puts before the error of a command that a script called; 7.0 leaves it as it is. */
const RAISED_IN_SCRIPT = /^ERR Error running script \(call to \w+\): (?:@user_script: ?\d+: )*-?/;

/** What a command on a consumer group gives; `undefined` where the group, or its stream, is gone: nothing is anybody's then. */
export async function whereGroupIs<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (isNoGroup(error)) {
      return undefined;
    }
    throw error;
  }
}

/** The stream or its consumer group is gone. */
export function isNoGroup(error: unknown): boolean {
  return errorWord(error) === 'NOGROUP';
}

/** The consumer group exists already. */
export function isBusyGroup(error: unknown): boolean {
  return errorWord(error) === 'BUSYGROUP';
}

/** A script has to be sent in full, once. */
export function isNoScript(error: unknown): boolean {
  return errorWord(error) === 'NOSCRIPT';
}

/** The ACL user may not run scripts at all, rather than what a script does. */
export function isScriptForbidden(error: unknown): boolean {
  return isNoPermission(error) && messageOf(error).includes("'eval");
}

/** What Redis 6.2 and 7.0 say where a script does what its user may not (scripting.c, script.c); later ones say NOPERM. */
const FORBIDDEN_IN_SCRIPT = "The user executing the script can't ";

/** The ACL user may not do this. */
export function isNoPermission(error: unknown): boolean {
  return (
    errorWord(error) === 'NOPERM' || (isReplyError(error) && error.message.includes(FORBIDDEN_IN_SCRIPT))
  );
}

/** Trying to connect again cannot help: the credentials are wrong. */
export function isAuthenticationError(error: unknown): boolean {
  return (
    ['WRONGPASS', 'NOAUTH', 'NOPERM'].includes(errorWord(error)) || /invalid password/i.test(messageOf(error))
  );
}

/** The database does not exist, or may not be used. ioredis would go on in database 0. */
export function isSelectError(error: unknown): boolean {
  return isReplyError(error) && (error as { command?: { name?: string } }).command?.name === 'select';
}

/** An error's message, whatever was thrown. */
export function messageOf(error: unknown): string {
  if (error instanceof Error && error.name === 'MaxRetriesPerRequestError') {
    // Ours is 0, so that unanswered commands are rejected as soon as the connection closes; ioredis' text is about retries.
    return 'the connection was lost';
  }
  return error instanceof Error ? error.message : String(error);
}

/**
 * Why a transaction was refused: EXECABORT itself does not say, neither to a person nor to whoever has to know whether
 * it is worth another attempt. ioredis keeps the answers to its commands.
 */
export function refusalOf(error: unknown): unknown {
  return (error as { previousErrors?: Error[] } | null | undefined)?.previousErrors?.[0] ?? error;
}
