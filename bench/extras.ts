import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { ROOT } from './paths.js';

/** Packages that only the benchmark needs, and only when it is asked for them: each a folder of `extras`. */
export type ExtraName =
  'nats' | 'rmq' | 'jetstream' | 'de-novo' | 'bullmq' | 'moleculer' | 'chart' | 'ioredis-5';

const INSTALL_WITHIN_MS = 300_000;
/** Of what npm wrote, for the message. */
const KEPT_OUTPUT = 300;

interface Manifest {
  version?: string;
  dependencies?: Record<string, string>;
}

/**
 * Installs an extra where it is not there yet, in the versions that its `package.json` names. Peer dependencies are
 * left to the package's own `node_modules`, so that all systems run on the same Nest. Throws where it cannot.
 */
export function installExtra(name: ExtraName, say: (line: string) => void): void {
  if (isInstalled(name)) {
    return;
  }
  say(`Installing the packages for ${name}`);
  const args = ['install', '--no-package-lock', '--no-audit', '--no-fund', '--legacy-peer-deps'];
  const { status, stderr, error } = spawnSync('npm', args, {
    cwd: folderOf(name),
    encoding: 'utf8',
    timeout: INSTALL_WITHIN_MS,
  });
  if (status !== 0) {
    const reason = error?.message ?? stderr.trim().slice(-KEPT_OUTPUT);
    throw new Error(`Its packages could not be installed: ${reason}`);
  }
}

/** Loads a package of an extra that is installed. */
export function requireExtra<T>(name: ExtraName, packageName: string): T {
  return createRequire(join(folderOf(name), 'package.json'))(packageName) as T;
}

/** The file that a package of an extra begins with. */
export function extraFile(name: ExtraName, packageName: string): string {
  return createRequire(join(folderOf(name), 'package.json')).resolve(packageName);
}

/** The versions that an extra's packages have. */
export function extraVersions(name: ExtraName): Record<string, string> {
  return manifestOf(folderOf(name)).dependencies ?? {};
}

function isInstalled(name: ExtraName): boolean {
  return Object.entries(extraVersions(name)).every(([dependency, version]) => {
    try {
      return manifestOf(join(folderOf(name), 'node_modules', dependency)).version === version;
    } catch {
      return false;
    }
  });
}

function manifestOf(folder: string): Manifest {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest;
}

function folderOf(name: ExtraName): string {
  return join(ROOT, 'bench/extras', name);
}
