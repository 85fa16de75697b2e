/** For a log: an error with its stack, and whatever else was thrown as JSON where it can be. */
export function describeError(error: unknown): string {
  if (error instanceof Error) {
    return error.stack ?? error.message;
  }
  try {
    return JSON.stringify(error) ?? String(error);
  } catch {
    // A BigInt, a circle, or a toJSON() that throws; such an object may even lack what String() needs.
    return Object.prototype.toString.call(error);
  }
}
