import { Logger } from '@nestjs/common';
import type { FromService, ToService } from './messages.js';

const TELL_EVERY_MS = 25;
const CLOSE_WITHIN_MS = 3_000;

/** An application that listens. */
export interface Started {
  app: { close(): Promise<void> };
  url?: string;
}

let untold: string[] = [];

/** Tells `main.ts` of an order whose event was handled; of many at once, so that it costs the demo little. */
export function tellHandled(orderId: string): void {
  if (untold.push(orderId) === 1) {
    setTimeout(() => {
      tell({ kind: 'handled', ids: untold });
      untold = [];
    }, TELL_EVERY_MS);
  }
}

/** Runs a service of the demo until `main.ts` says stop, or is gone. */
export async function serve(start: () => Promise<Started>): Promise<void> {
  const end = new End();
  const started = await start();
  end.closes(started);
  tell({ kind: 'ready', url: started.url });
}

/**
 * How a service ends: at once while it is starting, by closing its application later on. SIGINT does not end it: Ctrl-C
 * in a terminal reaches all processes at once, and `main.ts` decides what ends when.
 */
class End {
  private started: Started | undefined;
  private isEnding = false;

  constructor() {
    const end = (): void => void this.end();
    process.on('message', ({ kind }: ToService) => {
      if (kind === 'stop') {
        end();
      }
    });
    process.on('disconnect', end);
    process.on('SIGTERM', end);
    // A terminal's Ctrl-C ends a throw-away Redis too, so that what is logged from here on is no news.
    process.on('SIGINT', () => {
      Logger.overrideLogger(false);
    });
    if (!process.connected) {
      end();
    }
  }

  closes(started: Started): void {
    this.started = started;
  }

  private async end(): Promise<void> {
    if (!this.started) {
      process.exit(1);
    }
    if (this.isEnding) {
      return;
    }
    this.isEnding = true;
    setTimeout(() => process.exit(1), CLOSE_WITHIN_MS).unref();
    await this.started.app.close();
    if (process.connected) {
      // The channel is what keeps a closed application running.
      process.disconnect();
    }
  }
}

/** Tells `main.ts`. Should it be gone, 'disconnect' tells us so. */
export function tell(message: FromService): void {
  if (process.connected) {
    process.send?.(message, undefined, undefined, () => undefined);
  }
}
