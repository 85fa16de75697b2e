import { randomId } from '../protocol/ids.js';
import { Script } from '../redis/scripts/script.js';
import type { ShardPlace } from './layout-survey.js';

/** Whoever changes a layout and dies keeps others from it for so long. */
const TTL_MS = 30_000;
const RENEW_EVERY_MS = 10_000;

/**
 * Renews or removes a lock, unless it is somebody else's by now.
 *
 * KEYS[1] lock
 * ARGV[1] its value   ARGV[2] milliseconds for which it is to hold from now on, 0 to remove it
 * Returns 1 where it was ours, else 0
 */
const KEEP = new Script(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
`);

/** Keeps two from changing a layout at the same time. */
export class ChangeLock {
  private readonly timer: NodeJS.Timeout;

  private constructor(
    private readonly root: ShardPlace,
    private readonly value: string,
  ) {
    // A renewal that fails is only one of three; what is done meanwhile fails by itself.
    this.timer = setInterval(() => void this.keep(TTL_MS).catch(() => undefined), RENEW_EVERY_MS);
  }

  /** Takes the lock; `undefined` where another has it. */
  static async take(root: ShardPlace): Promise<ChangeLock | undefined> {
    const { commands, keys } = root;
    const value = randomId();
    const isTaken = (await commands.client.set(keys.layoutLock, value, 'PX', TTL_MS, 'NX')) === 'OK';
    return isTaken ? new ChangeLock(root, value) : undefined;
  }

  /** Where Redis cannot be told, it expires. */
  async release(): Promise<void> {
    clearInterval(this.timer);
    await this.keep(0).catch(() => undefined);
  }

  private keep(ms: number): Promise<unknown> {
    const { commands, keys } = this.root;
    return KEEP.run(commands.client, [keys.layoutLock], [this.value, String(ms)]);
  }
}
