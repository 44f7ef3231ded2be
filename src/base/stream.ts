/**
 * A two-way stream of frames: what logs, exec, attach, port-forward and image transfer ride on between the API server
 * and an agent. Channels are those of Kubernetes' remote-command protocol, so that nothing is renumbered on the way.
 * Source: k8s.io/apimachinery/pkg/util/remotecommand.
 */

export const CHANNEL = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4, close: 255 } as const

export interface Frame {
  channel: number
  data: Uint8Array
}

/** Ends of one stream. Either side may end; a failed stream throws from `frames` and `send` with a coded error. */
export interface FrameStream {
  /** Resolves when the frame was taken; waits while the other side is slow. */
  send(frame: Frame): Promise<void>
  /** Ends our direction; with an error, the other side's `frames` throws it. */
  end(error?: unknown): void
  /** The other side's frames, to its end. May be iterated once. */
  readonly frames: AsyncIterable<Frame>
}

/** What a node can be asked to do over a stream. */
export type NodeStreamVerb =
  | 'logs'
  | 'exec'
  | 'attach'
  | 'portForward'
  | 'imageLoad'
  | 'imageImport'
  | 'imageList'
  | 'imageRemove'
  | 'imagePull'
  | 'imagePush'
  | 'imageTag'
  | 'imageSave'
  | 'imageInspect'
  | 'imagePrune'
  | 'nodeFsck'
  | 'usage'

/** The server's way to its nodes: implemented by dispatch, used by the API server, joined in the composition root. */
export interface NodeGateway {
  /** Opens a stream to the node's agent. Rejects with `notFound` or `unavailable` when there is no session. */
  open(nodeName: string, verb: NodeStreamVerb, request: unknown, signal: AbortSignal): Promise<FrameStream>
  /** Nodes with a live session on this server. */
  connectedNodes(): string[]
}
