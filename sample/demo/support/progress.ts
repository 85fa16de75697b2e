import type { Ledger } from './ledger.js';

const LOOK_EVERY_MS = 50;
/** Where lines cannot be written over, as in a log. */
const LINES = 4;

/** What is shown of a run while it lasts. */
export interface Progress {
  /** A line of its own, in between. */
  say(line: string): void;
  /** Has a last look. */
  end(): void;
}

/** Shows how far a run has come: in a terminal by one line that is written over, elsewhere by a few lines. */
export function showProgress(ledger: Ledger): Progress {
  const { requests } = ledger;
  const { stdout } = process;
  let shown = 0;
  const show = (isLast: boolean): void => {
    const line = `  ${ledger.ended} of ${requests} requests ended, ${ledger.handledEvents} events handled`;
    if (stdout.isTTY) {
      stdout.write(`\r${line}${isLast ? '\n' : ''}`);
    } else if (isLast || Math.floor((ledger.ended * LINES) / requests) > shown) {
      shown = Math.floor((ledger.ended * LINES) / requests);
      stdout.write(`${line}\n`);
    }
  };
  const timer = setInterval(() => show(false), LOOK_EVERY_MS);
  return {
    say: (line) => {
      if (stdout.isTTY) {
        show(true);
      }
      stdout.write(`${line}\n`);
    },
    end: () => {
      clearInterval(timer);
      show(true);
    },
  };
}
