/** Errors in the words that kubectl users know. */
import { type KindDefinition, resourceName } from '../api/kind.ts'
import { DroverError, type FieldError } from '../base/errors.ts'

const LABEL: Readonly<Record<FieldError['reason'], string>> = {
  Required: 'Required value',
  Invalid: 'Invalid value',
  NotSupported: 'Unsupported value',
  Duplicate: 'Duplicate value',
  Forbidden: 'Forbidden',
  TooLong: 'Too long',
  Unknown: 'Unknown field',
  Conflict: 'Conflict',
}

export function describeField({ path, reason, message }: FieldError): string {
  return reason === 'Unknown' ? message : `${path}: ${LABEL[reason]}: ${message}`
}

export function invalidObject(kind: KindDefinition, name: string, fields: readonly FieldError[]): DroverError {
  const subject = `${kind.kind}${kind.group === '' ? '' : `.${kind.group}`} "${name}" is invalid`
  const parts = fields.map(describeField)
  const text = parts.length === 1 ? parts[0] : `[${parts.join(', ')}]`
  return new DroverError('invalid', `${subject}: ${text}`, { fields })
}

export function notFound(kind: KindDefinition, name: string): DroverError {
  return new DroverError('notFound', `${resourceName(kind)} "${name}" not found`)
}

export function alreadyExists(kind: KindDefinition, name: string): DroverError {
  return new DroverError('alreadyExists', `${resourceName(kind)} "${name}" already exists`)
}

export function conflict(kind: KindDefinition, name: string, why: string): DroverError {
  return new DroverError('conflict', `Operation cannot be fulfilled on ${resourceName(kind)} "${name}": ${why}`)
}

export const MODIFIED = 'the object has been modified; please apply your changes to the latest version and try again'

export function forbidden(kind: KindDefinition, name: string, why: string): DroverError {
  return new DroverError('forbidden', `${resourceName(kind)} "${name}" is forbidden: ${why}`)
}
