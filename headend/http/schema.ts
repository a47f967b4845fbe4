/**
 * The part of JSON Schema that our bodies need, checked by forty lines: the same objects go into the OpenAPI document, so
 * the document cannot say anything else than the server does.
 */

import { RequestError } from './problem.ts';

export interface Schema {
  readonly type?: 'object' | 'array' | 'string' | 'integer' | 'number' | 'boolean' | readonly string[];
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean;
  readonly items?: Schema;
  readonly maxItems?: number;
  readonly enum?: readonly (string | null)[];
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly format?: string;
  readonly default?: unknown;
  readonly examples?: readonly unknown[];
}

/** @throws RequestError at the first member that breaks the schema, with its pointer */
export function checkSchema(value: unknown, schema: Schema, pointer = ''): void {
  const kinds = schema.type === undefined ? [] : Array.isArray(schema.type) ? schema.type : [schema.type];
  if (kinds.length > 0 && !kinds.some((kind) => isOfType(value, kind))) {
    throw new RequestError(`${nameOf(pointer)} must be ${kinds.join(' or ')}`, pointer);
  }
  if (schema.enum !== undefined && !schema.enum.includes(value as string)) {
    throw new RequestError(`${nameOf(pointer)} must be one of ${schema.enum.join(', ')}`, pointer);
  }
  if (typeof value === 'string') checkText(value, schema, pointer);
  if (typeof value === 'number') checkNumber(value, schema, pointer);
  if (Array.isArray(value) && value.length > (schema.maxItems ?? Number.POSITIVE_INFINITY)) {
    throw new RequestError(`${nameOf(pointer)} has ${value.length} items, at most ${schema.maxItems}`, pointer);
  }
  if (Array.isArray(value) && schema.items !== undefined) {
    value.forEach((item, i) => void checkSchema(item, schema.items!, `${pointer}/${i}`));
  }
  if (isOfType(value, 'object')) checkObject(value as Record<string, unknown>, schema, pointer);
}

function isOfType(value: unknown, kind: string): boolean {
  switch (kind) {
    case 'null':
      return value === null;
    case 'array':
      return Array.isArray(value);
    case 'object':
      return typeof value === 'object' && value !== null && !Array.isArray(value);
    case 'integer':
      return Number.isSafeInteger(value);
    case 'number':
      return Number.isFinite(value);
    default:
      return typeof value === kind;
  }
}

function checkObject(value: Record<string, unknown>, schema: Schema, pointer: string): void {
  const properties = schema.properties ?? {};
  for (const name of schema.required ?? []) {
    if (!Object.hasOwn(value, name)) throw new RequestError(`${name} is missing`, `${pointer}/${name}`);
  }
  for (const [name, member] of Object.entries(value)) {
    const inner = `${pointer}/${name.replace(/~/g, '~0').replace(/\//g, '~1')}`;
    if (Object.hasOwn(properties, name)) checkSchema(member, properties[name]!, inner);
    else if (schema.additionalProperties === false) {
      const known = Object.keys(properties).join(', ') || 'none';
      throw new RequestError(`${name.slice(0, 40)} is not a member here; known: ${known}`, inner);
    }
  }
}

function checkText(value: string, schema: Schema, pointer: string): void {
  if (schema.minLength !== undefined && value.trim().length < schema.minLength) {
    throw new RequestError(`${nameOf(pointer)} needs at least ${schema.minLength} characters`, pointer);
  }
  if (schema.maxLength !== undefined && value.length > schema.maxLength) {
    throw new RequestError(`${nameOf(pointer)} has ${value.length} characters, at most ${schema.maxLength}`, pointer);
  }
  if (schema.pattern !== undefined && !new RegExp(schema.pattern, 'u').test(value)) {
    throw new RequestError(`${nameOf(pointer)} does not look like ${schema.description ?? schema.pattern}`, pointer);
  }
  if (schema.format === 'date-time' && Number.isNaN(Date.parse(value))) {
    throw new RequestError(`${nameOf(pointer)} is not a time like 2026-01-31T12:00:00.000Z`, pointer);
  }
}

function checkNumber(value: number, schema: Schema, pointer: string): void {
  if (schema.minimum !== undefined && value < schema.minimum) {
    throw new RequestError(`${nameOf(pointer)} is ${value}, at least ${schema.minimum}`, pointer);
  }
  if (schema.maximum !== undefined && value > schema.maximum) {
    throw new RequestError(`${nameOf(pointer)} is ${value}, at most ${schema.maximum}`, pointer);
  }
}

function nameOf(pointer: string): string {
  return pointer === '' ? 'the body' : pointer.slice(1).replace(/\//g, '.').slice(0, 60);
}
