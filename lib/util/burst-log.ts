/** Lines that say the same within this time are counted, not repeated; for what may happen many times a second. */
const QUIET_MS = 5_000;

interface Burst {
  last: string;
  suppressed: number;
  timer: NodeJS.Timeout;
}

/** One line for a burst: the first of its kind is written at once, the rest as a number, with the last of them, when the burst is over. */
export class BurstLog {
  private readonly bursts = new Map<string, Burst>();

  /** @param quietMs how long a burst is: longer than the pause between two lines that are to count as one */
  constructor(
    private readonly write: (line: string) => void,
    private readonly quietMs = QUIET_MS,
  ) {}

  /** @param kind what makes lines alike; must come from a bounded set */
  report(kind: string, line: string): void {
    const burst = this.bursts.get(kind);
    if (burst) {
      burst.suppressed++;
      burst.last = line;
      return;
    }
    this.write(line);
    const timer = setTimeout(() => this.end(kind), this.quietMs);
    timer.unref();
    this.bursts.set(kind, { suppressed: 0, last: line, timer });
  }

  /** Writes what is still only counted. */
  close(): void {
    for (const kind of [...this.bursts.keys()]) {
      this.end(kind);
    }
  }

  private end(kind: string): void {
    const burst = this.bursts.get(kind);
    if (!burst) {
      return;
    }
    clearTimeout(burst.timer);
    this.bursts.delete(kind);
    if (burst.suppressed > 0) {
      this.write(
        burst.suppressed === 1
          ? burst.last
          : `${kind}: ${burst.suppressed} more, the last one: ${burst.last}`,
      );
    }
  }
}
