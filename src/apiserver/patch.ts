/** PATCH: which kind of patch the content type names, and its application. The merging itself is the resources layer's. */

import { DroverError } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import { decodeBody, mediaType, PATCH_TYPES } from './codec.ts'
import type { ApiContext } from './context.ts'
import type { Exchange } from './exchange.ts'
import { sendObject } from './list.ts'
import { checkDuplicates, partOf, toKubeObject } from './mutate.ts'
import { applyOptions, writeOptions } from './query.ts'
import type { Target } from './router.ts'
import { unsupportedMediaType } from './status_error.ts'

type PatchForm = (typeof PATCH_TYPES)[keyof typeof PATCH_TYPES]

export function patchTypeOf(contentType: string | undefined): PatchForm {
  const type = mediaType(contentType)
  const known = Object.entries(PATCH_TYPES).find(([name]) => name === type)?.[1]
  if (known !== undefined) return known
  const names = Object.keys(PATCH_TYPES).join(', ')
  throw unsupportedMediaType(`the patch is ${type === '' ? 'of no content type' : type}; send one of ${names}`)
}

export async function handlePatch(context: ApiContext, exchange: Exchange, target: Target): Promise<void> {
  const { kind, namespace, name, subresource } = target
  const contentType = exchange.headers['content-type']
  const type = patchTypeOf(contentType)
  const bytes = await exchange.body()
  const patch = decodeBody(bytes, contentType)
  if (type === 'json' ? !Array.isArray(patch) : !isObject(patch)) {
    throw new DroverError(
      'invalid',
      `${type === 'json' ? 'a JSON patch must be a list of operations' : `a patch to ${type} must be an object`}`,
    )
  }
  const { resources } = context
  if (type === 'apply') {
    const config = toKubeObject(isObject(patch) ? patch : {}, target)
    const { object, created } = await resources.apply(kind, config, partOf(target), applyOptions(exchange, subresource))
    await sendObject({ context, exchange, kind, object, status: created ? 201 : 200 })
    return
  }
  if (exchange.query.has('force')) {
    const message = 'force may be given with an apply patch alone'
    throw new DroverError('invalid', message, { fields: [{ path: 'force', reason: 'Forbidden', message }] })
  }
  const options = writeOptions(exchange, { subresource })
  checkDuplicates(exchange, bytes, options)
  const updated = await resources.patch(kind, namespace, name, partOf(target), type, patch, options)
  await sendObject({ context, exchange, kind, object: updated, status: 200 })
}
