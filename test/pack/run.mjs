import { spawn } from 'node:child_process';
import { once } from 'node:events';

/**
 * Runs a command to its end, and gives its standard output. Throws with all that it wrote when it fails, takes longer
 * than `within` milliseconds, or `signal` aborts.
 */
export async function run(command, args, { cwd, within, signal }) {
  signal.throwIfAborted();
  // A process group of its own: npm starts further processes, which have to end with it.
  const child = spawn(command, args, { cwd, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  let ending = '';
  const cut = (reason) => {
    ending = reason;
    killGroup(child);
  };
  const timer = setTimeout(() => cut(`did not end within ${within / 1000} s`), within);
  const interrupt = () => cut('was interrupted');
  signal.addEventListener('abort', interrupt);
  try {
    const [code, killedBy] = await once(child, 'close');
    if (ending || code !== 0) {
      const how = ending || `ended with ${code ?? killedBy}`;
      throw new Error(`${[command, ...args].join(' ')}\n${how}\n${stdout.join('')}${stderr.join('')}`);
    }
    return stdout.join('');
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', interrupt);
  }
}

function collect(stream) {
  const chunks = [];
  stream.setEncoding('utf8').on('data', (chunk) => chunks.push(chunk));
  return chunks;
}

function killGroup(child) {
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch (error) {
    // It has ended in the meantime, or never started.
    if (error.code !== 'ESRCH' && child.pid !== undefined) {
      throw error;
    }
  }
}
