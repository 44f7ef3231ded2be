/** Gives nodes the tokens of service accounts, for the pods that are bound to them and no others. */
import { DEFAULT_SERVICE_ACCOUNT } from '../api/names.ts'
import { podKind } from '../api/pod_kind.ts'
import { type Clock, sleep } from '../base/clock.ts'
import { DroverError, isCode } from '../base/errors.ts'
import type { Resources } from '../resources/resources.ts'
import type { IssuedToken, TokenWish } from '../resources/service_account_tokens.ts'
import type { TokenAnswer, TokenRequest } from '../rpc/messages.ts'

export type IssueToken = (wish: TokenWish) => IssuedToken

export interface TokenDesk {
  resources: Resources
  clock: Clock
  issueToken?: IssueToken
}

/** A new namespace's account is made a moment after the namespace: a pod that comes with it need not fail first. */
const ACCOUNT_WAIT_MS = 2_000
const LOOK_AGAIN_MS = 50

/** Never rejects: a refusal is an answer. */
export async function answerTokenRequest(
  desk: TokenDesk,
  nodeName: string,
  request: TokenRequest,
): Promise<TokenAnswer> {
  const { requestId } = request
  try {
    const { token } = await issue(desk, nodeName, request)
    return { type: 'tokenAnswer', requestId, token, errorCode: '', errorMessage: '' }
  } catch (thrown) {
    const { code, message } = DroverError.from(thrown)
    return { type: 'tokenAnswer', requestId, token: '', errorCode: code, errorMessage: message }
  }
}

async function issue({ resources, clock, issueToken }: TokenDesk, nodeName: string, request: TokenRequest) {
  const { namespace, podName, podUid, serviceAccount, audiences, expirationSeconds } = request
  if (issueToken === undefined) throw new DroverError('unsupported', 'this server signs no tokens')
  const pod = resources.get(podKind, namespace, podName)
  const account = pod?.spec.serviceAccountName ?? DEFAULT_SERVICE_ACCOUNT
  if (pod?.metadata.uid !== podUid || pod.spec.nodeName !== nodeName || account !== serviceAccount) {
    const what = `pod ${namespace}/${podName} (${podUid}) as ${serviceAccount}`
    throw new DroverError('forbidden', `${what} does not run on node ${nodeName}: no token for it`)
  }
  const wish: TokenWish = {
    namespace,
    serviceAccount,
    podName,
    podUid,
    audiences,
    ...(expirationSeconds === 0 ? {} : { expirationSeconds }),
  }
  const deadlineMs = clock.monotonicMs() + ACCOUNT_WAIT_MS
  while (true) {
    try {
      return issueToken(wish)
    } catch (error) {
      if (!isCode(error, 'notFound') || clock.monotonicMs() > deadlineMs) throw error
      await sleep(clock, LOOK_AGAIN_MS)
    }
  }
}
