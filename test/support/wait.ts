const LOOK_EVERY_MS = 10;

/** Waits until `condition` gives something true, and returns it; fails after `withinMs`. For what no event tells. */
export async function eventually<T>(
  condition: () => T | Promise<T>,
  what: string,
  withinMs = 5_000,
): Promise<NonNullable<T>> {
  const latest = performance.now() + withinMs;
  for (;;) {
    const result = await condition();
    if (result) {
      return result;
    }
    if (performance.now() > latest) {
      throw new Error(`Not within ${withinMs} ms: ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

/** A promise and what settles it. */
export interface Deferred<T = void> {
  promise: Promise<T>;
  resolve: (value: T) => void;
}

export function deferred<T = void>(): Deferred<T> {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((settle) => (resolve = settle));
  return { promise, resolve };
}
