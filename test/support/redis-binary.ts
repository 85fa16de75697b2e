import { execFileSync, spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

const NAMES = ['redis-server', 'valkey-server'];
const APT_WITHIN_MS = 300_000;

/** The path of a Redis or Valkey server, if one is in PATH. */
export function findRedis(): string | undefined {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    for (const name of NAMES) {
      const path = join(folder, name);
      if (isExecutable(path)) {
        return path;
      }
    }
  }
  return undefined;
}

/**
 * Finds a server or installs one, where that is possible without asking: by apt, as root. Says what it did in one
 * line; throws with what to do where it cannot.
 */
export function ensureRedis(say: (line: string) => void): string {
  const found = findRedis();
  if (found) {
    say(`Using ${found} for a throw-away Redis`);
    return found;
  }
  if (process.getuid?.() === 0 && spawnSync('apt-get', ['--version']).status === 0) {
    install();
    const installed = findRedis();
    if (installed) {
      say(`Installed redis-server by apt, for a throw-away Redis`);
      return installed;
    }
  }
  throw new Error(
    'No redis-server or valkey-server was found in PATH. Install one and try again: ' +
      '"sudo apt-get install redis-server" on Debian and Ubuntu, "brew install redis" on macOS.',
  );
}

function install(): void {
  const options = {
    stdio: 'pipe',
    timeout: APT_WITHIN_MS,
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  } as const;
  execFileSync('apt-get', ['update'], options);
  execFileSync('apt-get', ['install', '-y', '--no-install-recommends', 'redis-server'], options);
}

/** Whether a file is there and may be run. */
export function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Jest's global setup: once, before the test files, which run beside each other and must not all install a Redis. */
export default function setup(): void {
  ensureRedis((line) => process.stdout.write(`${line}\n`));
}
