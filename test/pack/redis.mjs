import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { createServer } from 'node:net';
import { delimiter, join } from 'node:path';

const READY_WITHIN_MS = 10_000;

/** Starts a throw-away Redis on a free port of loopback, with its files in `folder`. */
export async function startRedis(folder) {
  const port = await freePort();
  const child = spawn(
    findRedis(),
    ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', ''],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const redis = { url: `redis://127.0.0.1:${port}`, stop: () => stop(child) };
  try {
    await ready(child);
    return redis;
  } catch (error) {
    await redis.stop();
    throw error;
  }
}

function findRedis() {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    for (const name of ['redis-server', 'valkey-server']) {
      const path = join(folder, name);
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {
        // Not there: the next one may be.
      }
    }
  }
  throw new Error(
    'No redis-server or valkey-server was found in PATH. Install one and try again: ' +
      '"sudo apt-get install redis-server" on Debian and Ubuntu, "brew install redis" on macOS. ' +
      'The unit and e2e tests (npm run test:unit) install one where they can.',
  );
}

function ready(child) {
  return new Promise((resolve, reject) => {
    let output = '';
    const fail = (what) => reject(new Error(`${what}\n${output}`));
    const timer = setTimeout(() => fail('redis-server did not get ready'), READY_WITHIN_MS);
    child.stdout.on('data', (chunk) => {
      output += chunk;
      if (output.includes('Ready to accept connections')) {
        clearTimeout(timer);
        resolve();
      }
    });
    child.once('error', reject);
    child.once('exit', (code) => {
      clearTimeout(timer);
      fail(`redis-server ended with ${code}`);
    });
  });
}

async function stop(child) {
  if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}
