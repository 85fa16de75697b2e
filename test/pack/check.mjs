/**
 * Packs the package as npm would publish it, looks at what is in it, and uses it as a stranger would: installed from
 * the tarball into projects of their own, on the newest and on the oldest peers that we support.
 */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startRedis } from './redis.mjs';
import { run } from './run.mjs';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PROJECTS = {
  esm: 'Nest 12, ioredis 6, ES modules',
  cjs: 'Nest 11, ioredis 5, CommonJS',
};
/** What a user gets, all of it and nothing else. */
const TOP_LEVEL = ['CHANGELOG.md', 'LICENSE', 'README.md', 'package.json'];
const IN_DIST = /^dist\/(esm|cjs)\/([\w.-]+\/)*[\w.-]+(\.js|\.d\.ts|\.js\.map)$/;
const DIST_MARKER = 'dist/cjs/package.json';

const interrupted = new AbortController();
const work = mkdtempSync(join(tmpdir(), 'redis-streams-pack-'));
let redis;

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => interrupted.abort(new Error(`stopped by ${signal}`)));
}

try {
  await step('build', build);
  const tarball = await step('pack', pack);
  await step('publint', () => runBin('publint', ['run', tarball, '--strict']));
  await step('are the types wrong', () =>
    runBin('attw', [tarball, '--no-definitely-typed', '--no-emoji', '--no-color']),
  );
  const folder = join(work, 'redis');
  mkdirSync(folder);
  redis = await step('redis', async (say) => {
    const started = await startRedis(folder);
    say(started.url);
    return started;
  });
  for (const [name, peers] of Object.entries(PROJECTS)) {
    await useIn(name, peers, tarball);
  }
  print('The package is good.');
} catch (error) {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
} finally {
  await redis?.stop();
  rmSync(work, { recursive: true, force: true, maxRetries: 3 });
}

/** Runs a part of the check and prints one line for it. */
async function step(name, action) {
  const start = performance.now();
  let detail = '';
  try {
    const result = await action((text) => (detail = ` (${text})`));
    print(`ok    ${name}${detail}, ${((performance.now() - start) / 1000).toFixed(1)} s`);
    return result;
  } catch (error) {
    print(`FAIL  ${name}`);
    throw error;
  }
}

/** Builds unless what is there is newer than every source. */
async function build(say) {
  const outputs = ['esm', 'cjs'].map((format) => join(ROOT, 'dist', format, 'index.js'));
  const sources = [
    ...everythingIn(join(ROOT, 'lib')),
    ...readdirSync(ROOT)
      .filter((name) => /^(package|tsconfig.*)\.json$/.test(name))
      .map((name) => join(ROOT, name)),
  ];
  const newest = Math.max(...sources.map(modified));
  if (
    existsSync(join(ROOT, DIST_MARKER)) &&
    outputs.every((file) => existsSync(file) && modified(file) > newest)
  ) {
    say('up to date');
    return;
  }
  await run('npm', ['run', 'build'], { cwd: ROOT, within: 180_000, signal: interrupted.signal });
}

/** Packs without scripts, whose output would stand among the JSON. */
async function pack(say) {
  const output = await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', work], {
    cwd: ROOT,
    within: 60_000,
    signal: interrupted.signal,
  });
  const [{ filename, files, size }] = Object.values(JSON.parse(output));
  checkContents(files.map(({ path }) => path));
  say(`${files.length} files, ${Math.round(size / 1024)} KiB`);
  return join(work, filename);
}

function checkContents(paths) {
  const allowed = (path) =>
    TOP_LEVEL.includes(path) || path === DIST_MARKER || (IN_DIST.test(path) && !/\.(test|spec)\./.test(path));
  const extra = paths.filter((path) => !allowed(path));
  const needed = [...TOP_LEVEL, DIST_MARKER, ...['esm', 'cjs'].flatMap(entryFiles)];
  const missing = needed.filter((path) => !paths.includes(path));
  if (extra.length > 0 || missing.length > 0) {
    throw new Error(
      `In the package, but not meant to be: ${extra.join(', ') || 'nothing'}\nMissing: ${missing.join(', ') || 'nothing'}`,
    );
  }
}

function entryFiles(format) {
  return [`dist/${format}/index.js`, `dist/${format}/index.d.ts`];
}

/** Installs the tarball in a copy of the project, compiles the project and runs it. */
async function useIn(name, peers, tarball) {
  const folder = join(work, name);
  const options = { cwd: folder, within: 30_000, signal: interrupted.signal };
  await step(`${name}: install (${peers})`, async () => {
    cpSync(join(ROOT, 'test/pack', name), folder, { recursive: true });
    cpSync(tarball, join(folder, 'package.tgz'));
    await run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund'], {
      ...options,
      within: 300_000,
    });
    checkInstalled(join(folder, 'node_modules'));
  });
  await step(`${name}: compile under strict`, () =>
    run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', '.'], { ...options, within: 120_000 }),
  );
  await step(`${name}: run`, async (say) => {
    const output = await run(process.execPath, ['dist/main.js', redis.url], options);
    say(output.trim());
  });
}

/** A second copy of a peer would mean that our ranges do not hold; msgpackr must be missing for what main.ts checks. */
function checkInstalled(modules) {
  const unwanted = ['nestjs-redis-streams/node_modules', 'msgpackr'].filter((path) =>
    existsSync(join(modules, path)),
  );
  if (unwanted.length > 0) {
    throw new Error(
      `npm installed what it should not have: node_modules/${unwanted.join(', node_modules/')}`,
    );
  }
}

function runBin(name, args) {
  return run(join(ROOT, 'node_modules/.bin', name), args, {
    cwd: work,
    within: 120_000,
    signal: interrupted.signal,
  });
}

/** Folders too: theirs is the only trace of a source that was removed. */
function everythingIn(folder) {
  return [
    folder,
    ...readdirSync(folder, { recursive: true, withFileTypes: true }).map((entry) =>
      join(entry.parentPath, entry.name),
    ),
  ];
}

function modified(file) {
  return statSync(file).mtimeMs;
}

function print(line) {
  process.stdout.write(`${line}\n`);
}
