/** Timers of Node are 32-bit; a longer one would fire at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/** Resolves after `ms` milliseconds, or at once when `signal` aborts. Never rejects. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) {
      resolve();
      return;
    }
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done);
  });
}

/** Resolves to true once `work` has settled, or to false after `ms` milliseconds, whichever is first. */
export async function settledWithin(work: Promise<unknown>, ms: number): Promise<boolean> {
  const cut = new AbortController();
  const settled = work.then(
    () => true,
    () => true,
  );
  try {
    return await Promise.race([settled, pause(ms, cut.signal).then(() => false)]);
  } finally {
    cut.abort();
  }
}

/** Growing pauses between attempts: doubled each time, up to a limit, until something worked. */
export class Backoff {
  private failures = 0;

  constructor(
    private readonly base = 50,
    private readonly limit = 2_000,
  ) {}

  next(): number {
    return Math.min(this.limit, this.base * 2 ** Math.min(this.failures++, 20));
  }

  reset(): void {
    this.failures = 0;
  }
}
