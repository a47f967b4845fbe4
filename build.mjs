// Builds everything with esbuild. `node build.mjs` makes the bundles in dist/; flags:
//   --check         type check, lint and import rules
//   --tests [NAME]  test files into dist/test (only paths containing NAME)
//   --bench         benches into dist/bench
//   --interop       interop matrix and tests into dist/test/interop
//   --soak          long runs into dist/soak
//   --board         run of the emulated board into dist/board
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as esbuild from 'esbuild';
import { minifyAgain, minifyMost } from './minify.mjs';

// Who reads only the first lines of the output does not end the build.
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error) => {
    if (error.code !== 'EPIPE') throw error;
  });

const root = dirname(fileURLToPath(import.meta.url));
process.chdir(root);
const flags = process.argv.slice(2);
const version = JSON.parse(readFileSync('package.json', 'utf8')).version;

/** The same for every build of one commit, so that builds can be compared. */
function buildSeconds() {
  const given = Number(process.env.SOURCE_DATE_EPOCH);
  if (given > 0) return given;
  try {
    return Number(execFileSync('git', ['log', '-1', '--format=%ct'], { encoding: 'utf8', stdio: 'pipe' }));
  } catch {
    // An unpacked release has no history.
    return Math.floor(statSync('package.json').mtimeMs / 1000);
  }
}

const define = { S3MP_VERSION: JSON.stringify(version), S3MP_BUILD_S: String(buildSeconds()) };
/** Files below `folder` whose path satisfies `wanted`, as paths from the root. */
function find(folder, wanted) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true })
    .filter((f) => !f.includes('node_modules'))
    .map((f) => join(folder, f))
    .filter((f) => wanted(f) && statSync(f).isFile())
    .sort();
}

/** Size budgets in bytes, minified. What runs on PCs has none; what the meter keeps in memory is made as small as it goes. */
const BUNDLES = [
  { name: 'firmware', entry: 'firmware/main.ts', budget: 250_000, isSmallest: true },
  { name: 'gateway', entry: 'gateway/main.ts', budget: 400_000 },
  { name: 'headend', entry: 'headend/main.ts', budget: 600_000 },
  { name: 'launcher', entry: 'firmware/launcher.ts', budget: 12_000 },
  { name: 'lab', entry: 'hw/lab/main.ts', budget: Number.POSITIVE_INFINITY },
  { name: 'flash', entry: 'hw/image/flash.ts', budget: Number.POSITIVE_INFINITY },
  { name: 'image', entry: 'hw/image/sign.ts', budget: Number.POSITIVE_INFINITY },
];

const common = {
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node20',
  legalComments: 'none',
  logLevel: 'warning',
  logOverride: { 'import-is-undefined': 'error' },
  absWorkingDir: root,
};

/** `import page from 'embedded:page'` gives the head end's web page as one HTML text with its CSS and script inside. */
const embeddedPage = {
  name: 'embedded-page',
  setup(build) {
    build.onResolve({ filter: /^embedded:page$/ }, () => ({ path: 'page', namespace: 'embedded' }));
    build.onLoad({ filter: /^page$/, namespace: 'embedded' }, async () => {
      const script = await esbuild.build({
        absWorkingDir: root,
        entryPoints: ['headend/page/main.ts'],
        bundle: true,
        minify: true,
        write: false,
        format: 'iife',
        target: 'es2022',
        legalComments: 'none',
      });
      const style = await esbuild.build({
        absWorkingDir: root,
        entryPoints: ['headend/page/style.css'],
        bundle: true,
        minify: true,
        write: false,
      });
      const contents = JSON.stringify({
        html: readFileSync('headend/page/index.html', 'utf8'),
        script: script.outputFiles[0].text,
        style: style.outputFiles[0].text,
      });
      return { contents, loader: 'json', watchFiles: find('headend/page', () => true) };
    });
  },
};

/**
 * Of smol-toml's reader what a configuration has no use for is left out: dates, so that a date is an invalid number, and
 * what options would turn on that are never given, integers of more than 53 bits and a check of key names.
 */
const plainToml = {
  name: 'plain-toml',
  setup(build) {
    const dates = / {4}\/\/ Rough heuristic[\s\S]*?(?= {4}return parseNumber\(ctx, ctx\.p, c, 0, end\))/;
    build.onLoad({ filter: /smol-toml\/dist\/(extract|parse|primitive|struct|util)\.js$/ }, ({ path }) => {
      const text = readFileSync(path, 'utf8');
      if (path.endsWith('extract.js') && !dates.test(text)) throw new Error('smol-toml reads dates in another way');
      const contents = text.replace(dates, '').replaceAll('ctx.bi', 'false').replaceAll('ctx.uk', '0');
      return { contents, loader: 'js' };
    });
  },
};

/**
 * Tables of constants, `export const Tag = { array: 1, … } as const`, are objects for the compiler. Their members are put in
 * as the literals they are, also those taken out by `const { array } = Tag`, as a `const enum` would be, so that neither
 * names nor tables take room in a bundle.
 */
const inlineConstants = {
  name: 'inline-constants',
  setup(build) {
    const { imports } = JSON.parse(readFileSync('package.json', 'utf8'));
    const cache = new Map();
    const constantsOf = (file) => {
      if (!cache.has(file)) {
        const text = existsSync(file) ? readFileSync(file, 'utf8') : '';
        const constants = readConstants(text);
        for (const [, names, spec] of text.matchAll(/^export \{ ([\w, ]+) \} from '([^']+)'/gm))
          for (const name of names.split(', ')) constants.set(name, constantsOf(resolve(spec, file)).get(name) ?? {});
        cache.set(file, constants);
      }
      return cache.get(file);
    };
    const resolve = (spec, importer) => {
      const target = imports[`${spec.split('/')[0]}/*`];
      if (spec.startsWith('.')) return join(dirname(importer), spec);
      return target ? join(root, target.replace('*', spec.slice(spec.indexOf('/') + 1))) : '';
    };
    build.onLoad({ filter: /\.ts$/ }, ({ path }) => {
      if (path.includes('node_modules')) return undefined;
      const text = readFileSync(path, 'utf8');
      const constants = new Map(constantsOf(path));
      for (const [, names, spec] of text.matchAll(/^import \{([^}]*)\} from '([^']+)'/gm)) {
        const theirs = constantsOf(resolve(spec, path));
        for (const name of names.split(',').map((word) => word.trim()))
          if (theirs.get(name)?.isExported) constants.set(name, theirs.get(name));
      }
      const member = (name, key) => constants.get(name)?.members?.get(key);
      const contents = text
        .replace(/const \{\s*([\w:,\s]+?),?\s*\} = ([A-Z]\w*);/g, (whole, keys, name) => {
          const pairs = keys.split(/,\s*/).map((key) => key.split(': '));
          const literals = pairs.map(([key, own = key]) => `${own} = ${member(name, key)}`);
          return literals.some((literal) => literal.endsWith(' = undefined')) ? whole : `const ${literals.join(', ')};`;
        })
        .replace(/(?<!typeof |[.\w$'])([A-Z]\w*)\.(\w+)\b(?!')/g, (whole, name, key) => member(name, key) ?? whole);
      return { contents, loader: 'ts', resolveDir: dirname(path) };
    });
  },
};

/** Tables of a source, by name: the members that are literals, as texts. */
function readConstants(text) {
  const constants = new Map();
  for (const [, head, name, body] of text.matchAll(/^(export )?const ([A-Z]\w*) = \{([^{}]*)\} as const;/gm)) {
    const members = new Map();
    const bare = body.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
    for (const [, key, value] of bare.matchAll(/(?:^|,)\s*(\w+): (0x[\da-f_]+|0b[01_]+|[\d_]+|'[^']*')(?=\s*(?:,|$))/g))
      members.set(key, value);
    constants.set(name, { isExported: head !== undefined, members });
  }
  return constants;
}

/**
 * A module of Node is required once in a bundle, by a module that exports what any source imports of it: a call is then
 * `join(…)`, not `(0, path.join)(…)` behind a `require` in every source.
 */
const nodeModules = (sources) => ({
  name: 'node-modules',
  setup(build) {
    /** Names by module; whether a source imports them that has a part in the bundle. */
    const modules = new Map();
    for (const { file, isUsed } of sources)
      for (const [, list, spec] of readFileSync(file, 'utf8').matchAll(/^import \{([^}]*)\} from '(node:[^']+)'/gm))
        for (const [, name] of list.matchAll(/(?:^|,)\s*(\w+)(?= as |\s*(?:,|$))/g)) {
          if (!modules.has(spec)) modules.set(spec, new Map());
          const names = modules.get(spec);
          names.set(name, isUsed || names.get(name) === true);
        }
    build.onResolve({ filter: /^node:/ }, ({ path, kind }) =>
      kind === 'import-statement' ? { path, namespace: 'node-modules', sideEffects: false } : undefined,
    );
    build.onLoad({ filter: /.*/, namespace: 'node-modules' }, ({ path }) => {
      const names = [...(modules.get(path) ?? [])];
      const list = names.flatMap(([name, isUsed]) => (isUsed ? [name] : [])).join(', ');
      const unused = names.flatMap(([name, isUsed]) => (isUsed ? [] : [`export const ${name} = undefined;`]));
      const contents = [`const { ${list} } = require('${path}');`, `export { ${list} };`, ...unused].join('\n');
      return { contents, loader: 'js' };
    });
  },
});

/** Sources of a bundle, and whether anything of them is left in it. */
async function sourcesOf(options) {
  const { metafile } = await esbuild.build({ ...options, write: false, metafile: true });
  const [{ inputs }] = Object.values(metafile.outputs);
  const files = Object.keys(metafile.inputs).filter((file) => file.endsWith('.ts'));
  return files.map((file) => ({ file, isUsed: (inputs[file]?.bytesInOutput ?? 0) > 0 }));
}

/** Globals by one short name each, and numbers that are no literals as such. */
const SHORT_GLOBALS = {
  inject: ['globals.mjs'],
  define: {
    ...define,
    'Number.NaN': 'NaN',
    'Number.POSITIVE_INFINITY': 'Infinity',
    'Number.NEGATIVE_INFINITY': '-1e999',
  },
};

/** Writes one bundle, minified. */
async function makeBundle({ entry, outfile, budget, isSmallest, external = [] }) {
  const options = {
    ...common,
    define,
    ...(isSmallest ? SHORT_GLOBALS : {}),
    entryPoints: [entry],
    outfile,
    external,
    minify: true,
    keepNames: false,
    banner: { js: '#!/usr/bin/env node' },
    plugins: [...plugins, plainToml, inlineConstants],
  };
  const made = await esbuild.build({
    ...options,
    plugins: [...options.plugins, nodeModules(await sourcesOf(options))],
    write: false,
  });
  const [{ text }] = made.outputFiles;
  const smaller = isSmallest ? minifyMost : minifyAgain;
  writeFileSync(outfile, Number.isFinite(budget) ? await smaller(text) : text);
  chmodSync(outfile, 0o755);
}

const plugins = [embeddedPage];

/** Bundles are made here and moved to dist/ all together: a build that breaks off leaves what was there. */
const fresh = 'dist/.new';

async function buildBundles() {
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh, { recursive: true });
  const manifest = { version, files: {} };
  let failed = false;
  for (const { name, entry, budget, isSmallest } of BUNDLES) {
    if (!existsSync(entry)) continue;
    const outfile = `${fresh}/${name}.js`;
    await makeBundle({ entry, outfile, budget, isSmallest });
    const size = statSync(outfile).size;
    const over = size > budget;
    failed ||= over;
    const limit = Number.isFinite(budget) ? ` of ${(budget / 1000).toFixed(0)} kB` : '';
    console.log(
      `${`dist/${name}.js`.padEnd(18)} ${(size / 1000).toFixed(1).padStart(7)} kB${limit}${over ? '  OVER BUDGET' : ''}`,
    );
    manifest.files[`${name}.js`] = sha256(outfile);
  }
  const prebuilds = 'node_modules/@serialport/bindings-cpp/prebuilds';
  const natives = find(prebuilds, (f) => f.includes('/linux-'));
  if (natives.length === 0) throw new Error(`no native serial drivers in ${prebuilds}; run npm ci`);
  for (const file of natives) {
    const to = join('prebuilds', relative(prebuilds, file));
    cpSync(file, join(fresh, to));
    manifest.files[to] = sha256(file);
  }
  writeFileSync(`${fresh}/manifest.json`, `${JSON.stringify(manifest, null, 2)}\n`);
  rmSync('dist/prebuilds', { recursive: true, force: true });
  for (const name of readdirSync(fresh)) renameSync(join(fresh, name), join('dist', name));
  rmSync(fresh, { recursive: true });
  if (failed) process.exit(1);
}

function sha256(file) {
  return createHash('sha256').update(readFileSync(file)).digest('hex');
}

async function buildScripts(entries, outdir, outbase) {
  await esbuild.build({
    ...common,
    entryPoints: entries,
    outdir,
    outbase,
    sourcemap: 'inline',
    define,
    external: ['playwright-core'],
    plugins,
  });
}

function check() {
  for (const project of ['.', 'protocols', 'headend/page']) {
    if (find(project, (f) => f.endsWith('.ts')).length === 0) continue;
    execFileSync('node_modules/.bin/tsc', ['-p', project], { stdio: 'inherit' });
  }
  execFileSync('node_modules/.bin/biome', ['check', '--error-on-warnings', '.'], { stdio: 'inherit' });
}

try {
  if (flags[0] === '--check') check();
  else if (flags[0] === '--tests') {
    const wanted = flags[1] ?? '';
    const files = find('test', (f) => f.endsWith('.test.ts') && f.includes(wanted));
    if (!wanted) rmSync('dist/test', { recursive: true, force: true });
    await buildScripts([...files, 'test/run.ts'], 'dist/test', 'test');
    if (!wanted) await buildBundles();
  } else if (flags[0] === '--bench') {
    await buildScripts(
      find('test/bench', (f) => f.endsWith('.ts')),
      'dist/bench',
      'test/bench',
    );
    // What the meter allocates is measured as it ships.
    const poll = { entry: 'test/bench/poll-worker.ts', outfile: 'dist/bench/poll-worker.js' };
    await makeBundle({ ...poll, budget: 265_000, isSmallest: true, external: ['serialport'] });
  } else if (flags[0] === '--interop') {
    const wanted = (f) => f.endsWith('.test.ts') || f.endsWith('interop/main.ts');
    await buildScripts(find('test/interop', wanted), 'dist/test/interop', 'test/interop');
  } else if (flags[0] === '--soak') await buildScripts(['test/soak/main.ts'], 'dist/soak', 'test/soak');
  else if (flags[0] === '--board') await buildScripts(['test/board/main.ts'], 'dist/board', 'test/board');
  else await buildBundles();
} catch (error) {
  if (error.stdout === undefined && error.status === undefined) console.error(error.message ?? error);
  process.exit(1);
}
