/**
 * The web page as it is served: the bundle's HTML with style and script put in once, a content security policy that
 * allows exactly these two by their hashes, and a compressed copy.
 */

import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';

export interface PageParts {
  readonly html: string;
  readonly script: string;
  readonly style: string;
}

export interface Page {
  readonly html: Buffer;
  readonly gzip: Buffer;
  readonly etag: string;
  readonly policy: string;
}

export function buildPage(parts: PageParts): Page {
  const text = parts.html
    .replace('<!--style-->', () => `<style>${parts.style}</style>`)
    .replace('<!--script-->', () => `<script>${parts.script}</script>`);
  const html = Buffer.from(text);
  const policy = [
    "default-src 'none'",
    `script-src '${sourceHash(parts.script)}'`,
    `style-src '${sourceHash(parts.style)}'`,
    "connect-src 'self'",
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ');
  const etag = `"${createHash('sha256').update(html).digest('base64url').slice(0, 22)}"`;
  return { html, gzip: gzipSync(html, { level: 9 }), etag, policy };
}

function sourceHash(text: string): string {
  return `sha256-${createHash('sha256').update(text).digest('base64')}`;
}
