/**
 * Reference pages that are generated from tables in the code: configuration, example files, error codes. The test fails
 * when a page is stale; this writes them anew:
 *   S3MP_WRITE_DOCS=1 node dist/test/docs.test.js
 */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type ErrorCode, exitStatusOf, HTTP_STATUS } from '#base/error-codes';
import { ERROR_TITLES } from '#base/error-titles';
import { type ConfigSpec, environmentOf, flagOf, helpOf, loadConfig } from '#hw/config';
import { FIRMWARE_CONFIG } from '../firmware/config.ts';
import { GATEWAY_CONFIG } from '../gateway/config.ts';
import { HEADEND_CONFIG } from '../headend/config.ts';
import { conformancePage } from './docs/conformance.ts';

const root = join(__dirname, '..', '..');
const GENERATED = '<!-- Generated from the code by test/docs.test.ts; do not edit. -->';
const DEVICES: readonly [name: string, spec: ConfigSpec][] = [
  ['firmware', FIRMWARE_CONFIG],
  ['gateway', GATEWAY_CONFIG],
  ['headend', HEADEND_CONFIG],
];

const cell = (text: string): string => text.replace(/\|/g, '\\|');

function configurationPage(): string {
  const parts = [
    '# Configuration',
    GENERATED,
    'One TOML file per device (`--config FILE`), every key optional. A flag beats the environment, which beats the file, which beats the default. `config check` prints what is in force and where it comes from.',
  ];
  for (const [name, spec] of DEVICES) {
    const rows = Object.entries(spec).map(([key, keySpec]) => {
      const { type, default: preset } = keySpec;
      const help = helpOf(keySpec);
      const shown = preset === undefined ? '' : `\`${JSON.stringify(preset)}\``;
      const flag = type === 'tables' ? `\`[[${key}]]\` only` : `\`--${flagOf(key)}\` \`${environmentOf(key)}\``;
      return `| \`${key}\` | ${type} | ${cell(shown)} | ${cell(help)} | ${flag} |`;
    });
    parts.push(
      `## ${name}.js`,
      ['| Key | Type | Default | Meaning | Flag, environment |', '|---|---|---|---|---|', ...rows].join('\n'),
    );
  }
  return `${parts.join('\n\n')}\n`;
}

function errorPage(): string {
  const rows = (Object.entries(HTTP_STATUS) as [ErrorCode, number][]).map(
    ([code, http]) => `| \`${code}\` | ${ERROR_TITLES[code]} | ${exitStatusOf(code)} | ${http} |`,
  );
  return `${['# Error codes', GENERATED, 'The same code stands in the log, in `--json` output, in API problems and in the error classes.', ['| Code | Meaning | Exit status | HTTP status |', '|---|---|---|---|', ...rows].join('\n')].join('\n\n')}\n`;
}

/** An example file: every key with its default, commented out where it has none. */
function exampleFile(name: string, spec: ConfigSpec): string {
  const sections = new Map<string, string[]>();
  for (const [key, keySpec] of Object.entries(spec)) {
    const { type, default: preset } = keySpec;
    const help = helpOf(keySpec);
    const dot = key.lastIndexOf('.');
    const section = dot < 0 ? '' : key.slice(0, dot);
    const line =
      type === 'tables'
        ? `# [[${key}]]`
        : `${key.slice(dot + 1)} = ${preset === undefined ? '""' : JSON.stringify(preset)}`;
    const text = `# ${help}\n${preset === undefined && type !== 'tables' ? '# ' : ''}${line}`;
    sections.set(section, [...(sections.get(section) ?? []), text]);
  }
  const body = [...sections]
    .sort(([a], [b]) => (a === '' ? 1 : b === '' ? -1 : 0))
    .map(([section, lines]) => `${section === '' ? '' : `[${section}]\n`}${lines.join('\n')}`);
  return `# Configuration of ${name}.js with its defaults. Generated; see docs/configuration.md.\n\n${body.join('\n\n')}\n`;
}

const PAGES: readonly [file: string, text: () => string][] = [
  ['docs/configuration.md', configurationPage],
  ['docs/error-codes.md', errorPage],
  ['docs/conformance.md', () => conformancePage(GENERATED)],
  ...DEVICES.map(([name, spec]): [string, () => string] => [`examples/${name}.toml`, () => exampleFile(name, spec)]),
];

const Docs = suite('generated pages');

for (const [file, text] of PAGES) {
  Docs(`${file} is up to date`, () => {
    if (process.env.S3MP_WRITE_DOCS) {
      mkdirSync(dirname(join(root, file)), { recursive: true });
      writeFileSync(join(root, file), text());
    }
    const hint = 'run: S3MP_WRITE_DOCS=1 node dist/test/docs.test.js';
    assert.is(readFileSync(join(root, file), 'utf8'), text(), hint);
  });
}

Docs('every example file loads', () => {
  for (const [name, spec] of DEVICES) {
    const config = loadConfig(spec, { file: join(root, 'examples', `${name}.toml`) });
    for (const [key, { default: preset, type }] of Object.entries(spec)) {
      if (preset !== undefined && type === 'string') assert.is(config.string(key), preset, key);
    }
  }
});

Docs.run();
