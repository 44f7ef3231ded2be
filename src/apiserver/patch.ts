/** PATCH: which kind of patch the content type names, and its application. The merging itself is the resources layer's. */

import { DroverError } from '../base/errors.ts'
import { isObject } from '../base/json.ts'
import { decodeBody, mediaType, PATCH_TYPES } from './codec.ts'
import type { ApiContext } from './context.ts'
import type { Exchange } from './exchange.ts'
import { sendObject } from './list.ts'
import { partOf } from './mutate.ts'
import { writeOptions } from './query.ts'
import type { Target } from './router.ts'
import { unsupportedMediaType } from './status_error.ts'

function patchTypeOf(contentType: string | undefined): 'json' | 'merge' | 'strategic' {
  const type = mediaType(contentType)
  const known = Object.entries(PATCH_TYPES).find(([name]) => name === type)?.[1]
  if (known === 'apply') {
    throw unsupportedMediaType(
      'server-side apply (application/apply-patch+yaml) is not served yet; leave out --server-side, or send application/merge-patch+json',
    )
  }
  if (known !== undefined) return known
  const names = Object.keys(PATCH_TYPES).slice(0, 3).join(', ')
  throw unsupportedMediaType(`the patch is ${type === '' ? 'of no content type' : type}; send one of ${names}`)
}

export async function handlePatch(context: ApiContext, exchange: Exchange, target: Target): Promise<void> {
  const { kind, namespace, name } = target
  const contentType = exchange.headers['content-type']
  const type = patchTypeOf(contentType)
  const patch = decodeBody(await exchange.body(), contentType)
  if (type === 'json' ? !Array.isArray(patch) : !isObject(patch)) {
    throw new DroverError(
      'invalid',
      `a ${type} patch must be ${type === 'json' ? 'a list of operations' : 'an object'}`,
    )
  }
  const { resources } = context
  const updated = await resources.patch(kind, namespace, name, partOf(target), type, patch, writeOptions(exchange))
  sendObject({ context, exchange, kind, object: updated, status: 200 })
}
