/**
 * What goes into an `e` frame, and so to the caller: what Nest's own transports give. Plain values and objects go as
 * they are; an Error (which JSON would make `{}`) becomes its name, message and code, never its stack.
 */
export function toWireError(error: unknown): unknown {
  if (error instanceof Error) {
    const code = (error as { code?: unknown }).code;
    return {
      status: 'error',
      name: error.name,
      message: error.message,
      ...(typeof code === 'string' || typeof code === 'number' ? { code } : {}),
    };
  }
  // A client completes without an error when the error is falsy, so that a failure would look like success.
  return error ? error : { status: 'error', message: String(error) };
}

/** What is no error once it is read, such as `Infinity` or an invalid Date, which JSON writes as `null`. */
const FALSY_TEXTS: readonly (string | undefined)[] = [undefined, 'null', 'false', '0', '""'];

/** The JSON text of an error. An error that is not JSON itself is replaced by one that says so. */
export function encodeError(error: unknown): string {
  try {
    const text = JSON.stringify(toWireError(error)) as string | undefined;
    if (!FALSY_TEXTS.includes(text)) {
      return text!;
    }
  } catch {
    // Not JSON: what follows says so to the caller, who could not be given the error itself.
  }
  return JSON.stringify({
    status: 'error',
    name: 'SerializationError',
    code: 'SERIALIZATION',
    message: 'The handler failed with an error that cannot be encoded as JSON.',
  });
}
