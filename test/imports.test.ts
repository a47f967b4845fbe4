/**
 * The direction of imports, which is the architecture:
 *   base <- modbus, dlms, scion <- session <- hw <- firmware | gateway | headend
 * Devices never import each other, and nothing below hw touches Node.
 */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

/** Folder of sources -> aliases and packages its files may import from. Relative imports must stay in the folder. */
const RULES: Record<string, { aliases: string[]; packages: RegExp }> = {
  'protocols/base': { aliases: ['#base'], packages: /^@noble\/hashes\// },
  'protocols/modbus': { aliases: ['#base', '#modbus'], packages: /^$/ },
  'protocols/dlms': { aliases: ['#base', '#dlms'], packages: /^$/ },
  'protocols/scion': { aliases: ['#base', '#scion'], packages: /^@noble\/hashes\// },
  'protocols/session': { aliases: ['#base', '#dlms', '#scion', '#session'], packages: /^@noble\/hashes\// },
  hw: { aliases: ['#base', '#modbus', '#dlms', '#scion', '#session', '#hw'], packages: /./ },
  firmware: { aliases: ['#base', '#modbus', '#dlms', '#scion', '#session', '#hw'], packages: /^node:/ },
  gateway: { aliases: ['#base', '#modbus', '#dlms', '#scion', '#session', '#hw'], packages: /^node:/ },
  headend: {
    aliases: ['#base', '#modbus', '#dlms', '#scion', '#session', '#hw'],
    packages: /^(node:|uplot|embedded:)/,
  },
};

const root = join(__dirname, '..', '..');

function sources(folder: string): string[] {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((f) => f.endsWith('.ts') && !f.includes('node_modules'))
    .map((f) => posix.join(folder, f));
}

/** Every module text that a source names: imports, re-exports, dynamic imports, require. */
export function importsOf(text: string): string[] {
  const pattern = /(?:(?<!['"])\bfrom\s*|\bimport\s*\(\s*|\brequire\s*\(\s*|^\s*import\s+)(['"])([^'"\n]+)\1/gm;
  return [...text.matchAll(pattern)].map((m) => m[2]!);
}

function breachesOf(folder: string, file: string, text: string): string[] {
  const rule = RULES[folder]!;
  const breaches: string[] = [];
  for (const name of importsOf(text)) {
    const fine = name.startsWith('.')
      ? `${posix.join(dirname(file), name)}/`.startsWith(`${folder}/`)
      : name.startsWith('#')
        ? rule.aliases.some((alias) => name.startsWith(`${alias}/`))
        : rule.packages.test(name);
    if (!fine) breaches.push(`${file} imports ${name}`);
  }
  return breaches;
}

const Imports = suite('imports');

Imports('no source imports against the direction of the architecture', () => {
  const breaches: string[] = [];
  let seen = 0;
  for (const folder of Object.keys(RULES)) {
    for (const file of sources(folder)) {
      seen++;
      breaches.push(...breachesOf(folder, file, readFileSync(join(root, file), 'utf8')));
    }
  }
  assert.equal(breaches, []);
  assert.ok(seen > 10, `only ${seen} sources found`);
});

Imports('the rule sees type imports, re-exports, dynamic imports and relative escapes', () => {
  const breach = (folder: string, text: string) => breachesOf(folder, `${folder}/x.ts`, text).length;
  assert.is(breach('protocols/scion', "import type { X } from '#hw/x';"), 1);
  assert.is(breach('protocols/scion', "export { X } from 'node:fs';"), 1);
  assert.is(breach('protocols/dlms', "const x = await import('#scion/x');"), 1);
  assert.is(breach('firmware', "import { x } from '../gateway/x.ts';"), 1);
  assert.is(breach('firmware', "import 'uplot';"), 1);
  assert.is(breach('firmware', "import { x } from './x.ts';\nimport y from '#hw/y';"), 0);
  assert.is(breach('firmware', "const names = ['from', 'to'];"), 0);
});

Imports.run();
