// Generated from proto/drover/node/v1/node.proto by deploy/generate.js. Do not edit.
import * as $protobuf from "protobufjs";
import Long = require("long");

/** Namespace drover. */
export namespace drover {

    /** Namespace node. */
    namespace node {

        /** Namespace v1. */
        namespace v1 {

            /**
             * Properties of a JoinRequest.
             * @deprecated Use drover.node.v1.JoinRequest.$Properties instead.
             */
            interface IJoinRequest extends drover.node.v1.JoinRequest.$Properties {
            }

            /** Represents a JoinRequest. */
            class JoinRequest {

                /**
                 * Constructs a new JoinRequest.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: drover.node.v1.JoinRequest.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** JoinRequest tokenId. */
                tokenId: string;

                /** JoinRequest tokenSecret. */
                tokenSecret: string;

                /** JoinRequest nodeName. */
                nodeName: string;

                /** JoinRequest publicKey. */
                publicKey: Uint8Array;

                /** JoinRequest clockMs. */
                clockMs: number;

                /** JoinRequest machineId. */
                machineId: string;

                /** JoinRequest nodeJson. */
                nodeJson: Uint8Array;

                /**
                 * Encodes the specified JoinRequest message. Does not implicitly {@link drover.node.v1.JoinRequest.verify|verify} messages.
                 * @param message JoinRequest message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: drover.node.v1.JoinRequest.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a JoinRequest message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {drover.node.v1.JoinRequest & drover.node.v1.JoinRequest.$Shape} JoinRequest
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): drover.node.v1.JoinRequest & drover.node.v1.JoinRequest.$Shape;
            }

            namespace JoinRequest {

                /** Properties of a JoinRequest. */
                interface $Properties {

                    /** JoinRequest tokenId */
                    tokenId?: (string|null);

                    /** JoinRequest tokenSecret */
                    tokenSecret?: (string|null);

                    /** JoinRequest nodeName */
                    nodeName?: (string|null);

                    /** JoinRequest publicKey */
                    publicKey?: (Uint8Array|null);

                    /** JoinRequest clockMs */
                    clockMs?: (number|null);

                    /** JoinRequest machineId */
                    machineId?: (string|null);

                    /** JoinRequest nodeJson */
                    nodeJson?: (Uint8Array|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a JoinRequest. */
                type $Shape = drover.node.v1.JoinRequest.$Properties;
            }

            /**
             * Properties of a JoinResponse.
             * @deprecated Use drover.node.v1.JoinResponse.$Properties instead.
             */
            interface IJoinResponse extends drover.node.v1.JoinResponse.$Properties {
            }

            /** Represents a JoinResponse. */
            class JoinResponse {

                /**
                 * Constructs a new JoinResponse.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: drover.node.v1.JoinResponse.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** JoinResponse certificate. */
                certificate: string;

                /** JoinResponse ca. */
                ca: string;

                /** JoinResponse servers. */
                servers: string[];

                /** JoinResponse clusterName. */
                clusterName: string;

                /**
                 * Encodes the specified JoinResponse message. Does not implicitly {@link drover.node.v1.JoinResponse.verify|verify} messages.
                 * @param message JoinResponse message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: drover.node.v1.JoinResponse.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a JoinResponse message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {drover.node.v1.JoinResponse & drover.node.v1.JoinResponse.$Shape} JoinResponse
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): drover.node.v1.JoinResponse & drover.node.v1.JoinResponse.$Shape;
            }

            namespace JoinResponse {

                /** Properties of a JoinResponse. */
                interface $Properties {

                    /** JoinResponse certificate */
                    certificate?: (string|null);

                    /** JoinResponse ca */
                    ca?: (string|null);

                    /** JoinResponse servers */
                    servers?: (string[]|null);

                    /** JoinResponse clusterName */
                    clusterName?: (string|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a JoinResponse. */
                type $Shape = drover.node.v1.JoinResponse.$Properties;
            }

            /**
             * Properties of a RenewRequest.
             * @deprecated Use drover.node.v1.RenewRequest.$Properties instead.
             */
            interface IRenewRequest extends drover.node.v1.RenewRequest.$Properties {
            }

            /** Represents a RenewRequest. */
            class RenewRequest {

                /**
                 * Constructs a new RenewRequest.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: drover.node.v1.RenewRequest.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** RenewRequest publicKey. */
                publicKey: Uint8Array;

                /** RenewRequest clockMs. */
                clockMs: number;

                /**
                 * Encodes the specified RenewRequest message. Does not implicitly {@link drover.node.v1.RenewRequest.verify|verify} messages.
                 * @param message RenewRequest message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: drover.node.v1.RenewRequest.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a RenewRequest message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {drover.node.v1.RenewRequest & drover.node.v1.RenewRequest.$Shape} RenewRequest
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): drover.node.v1.RenewRequest & drover.node.v1.RenewRequest.$Shape;
            }

            namespace RenewRequest {

                /** Properties of a RenewRequest. */
                interface $Properties {

                    /** RenewRequest publicKey */
                    publicKey?: (Uint8Array|null);

                    /** RenewRequest clockMs */
                    clockMs?: (number|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a RenewRequest. */
                type $Shape = drover.node.v1.RenewRequest.$Properties;
            }

            /**
             * Properties of a RenewResponse.
             * @deprecated Use drover.node.v1.RenewResponse.$Properties instead.
             */
            interface IRenewResponse extends drover.node.v1.RenewResponse.$Properties {
            }

            /** Represents a RenewResponse. */
            class RenewResponse {

                /**
                 * Constructs a new RenewResponse.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: drover.node.v1.RenewResponse.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** RenewResponse certificate. */
                certificate: string;

                /** RenewResponse ca. */
                ca: string;

                /** RenewResponse servers. */
                servers: string[];

                /**
                 * Encodes the specified RenewResponse message. Does not implicitly {@link drover.node.v1.RenewResponse.verify|verify} messages.
                 * @param message RenewResponse message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: drover.node.v1.RenewResponse.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a RenewResponse message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {drover.node.v1.RenewResponse & drover.node.v1.RenewResponse.$Shape} RenewResponse
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): drover.node.v1.RenewResponse & drover.node.v1.RenewResponse.$Shape;
            }

            namespace RenewResponse {

                /** Properties of a RenewResponse. */
                interface $Properties {

                    /** RenewResponse certificate */
                    certificate?: (string|null);

                    /** RenewResponse ca */
                    ca?: (string|null);

                    /** RenewResponse servers */
                    servers?: (string[]|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a RenewResponse. */
                type $Shape = drover.node.v1.RenewResponse.$Properties;
            }

            /**
             * Properties of an AgentMessage.
             * @deprecated Use drover.node.v1.AgentMessage.$Properties instead.
             */
            interface IAgentMessage extends drover.node.v1.AgentMessage.$Properties {
            }

            /** Represents an AgentMessage. */
            class AgentMessage {

                /**
                 * Constructs a new AgentMessage.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: drover.node.v1.AgentMessage.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** AgentMessage hello. */
                hello?: (drover.node.v1.Hello.$Properties|null);

                /** AgentMessage heartbeat. */
                heartbeat?: (drover.node.v1.Heartbeat.$Properties|null);

                /** AgentMessage podStatuses. */
                podStatuses?: (drover.node.v1.PodStatuses.$Properties|null);

                /** AgentMessage nodeStatus. */
                nodeStatus?: (drover.node.v1.NodeStatus.$Properties|null);

                /** AgentMessage events. */
                events?: (drover.node.v1.Events.$Properties|null);

                /** AgentMessage resync. */
                resync?: (drover.node.v1.Resync.$Properties|null);

                /** AgentMessage tokenRequest. */
                tokenRequest?: (drover.node.v1.TokenRequest.$Properties|null);

                /** AgentMessage message. */
                message?: ("hello"|"heartbeat"|"podStatuses"|"nodeStatus"|"events"|"resync"|"tokenRequest");

                /**
                 * Encodes the specified AgentMessage message. Does not implicitly {@link drover.node.v1.AgentMessage.verify|verify} messages.
                 * @param message AgentMessage message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: drover.node.v1.AgentMessage.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes an AgentMessage message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {drover.node.v1.AgentMessage & drover.node.v1.AgentMessage.$Shape} AgentMessage
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): drover.node.v1.AgentMessage & drover.node.v1.AgentMessage.$Shape;
            }

            namespace AgentMessage {

                /** Properties of an AgentMessage. */
                interface $Properties {

                    /** AgentMessage hello */
                    hello?: (drover.node.v1.Hello.$Properties|null);

                    /** AgentMessage heartbeat */
                    heartbeat?: (drover.node.v1.Heartbeat.$Properties|null);

                    /** AgentMessage podStatuses */
                    podStatuses?: (drover.node.v1.PodStatuses.$Properties|null);

                    /** AgentMessage nodeStatus */
                    nodeStatus?: (drover.node.v1.NodeStatus.$Properties|null);

                    /** AgentMessage events */
                    events?: (drover.node.v1.Events.$Properties|null);

                    /** AgentMessage resync */
                    resync?: (drover.node.v1.Resync.$Properties|null);

                    /** AgentMessage tokenRequest */
                    tokenRequest?: (drover.node.v1.TokenRequest.$Properties|null);

                    /** AgentMessage message */
                    message?: ("hello"|"heartbeat"|"podStatuses"|"nodeStatus"|"events"|"resync"|"tokenRequest");

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Narrowed shape of an AgentMessage. */
                type $Shape = {
                  hello?: drover.node.v1.Hello.$Shape|null;
                  heartbeat?: drover.node.v1.Heartbeat.$Shape|null;
                  podStatuses?: drover.node.v1.PodStatuses.$Shape|null;
                  nodeStatus?: drover.node.v1.NodeStatus.$Shape|null;
                  events?: drover.node.v1.Events.$Shape|null;
                  resync?: drover.node.v1.Resync.$Shape|null;
                  tokenRequest?: drover.node.v1.TokenRequest.$Shape|null;
                  $unknowns?: Uint8Array[];
                } & (
                  ({ message?: undefined; hello?: null; heartbeat?: null; podStatuses?: null; nodeStatus?: null; events?: null; resync?: null; tokenRequest?: null }|{ message?: "hello"; hello: drover.node.v1.Hello.$Shape; heartbeat?: null; podStatuses?: null; nodeStatus?: null; events?: null; resync?: null; tokenRequest?: null }|{ message?: "heartbeat"; hello?: null; heartbeat: drover.node.v1.Heartbeat.$Shape; podStatuses?: null; nodeStatus?: null; events?: null; resync?: null; tokenRequest?: null }|{ message?: "podStatuses"; hello?: null; heartbeat?: null; podStatuses: drover.node.v1.PodStatuses.$Shape; nodeStatus?: null; events?: null; resync?: null; tokenRequest?: null }|{ message?: "nodeStatus"; hello?: null; heartbeat?: null; podStatuses?: null; nodeStatus: drover.node.v1.NodeStatus.$Shape; events?: null; resync?: null; tokenRequest?: null }|{ message?: "events"; hello?: null; heartbeat?: null; podStatuses?: null; nodeStatus?: null; events: drover.node.v1.Events.$Shape; resync?: null; tokenRequest?: null }|{ message?: "resync"; hello?: null; heartbeat?: null; podStatuses?: null; nodeStatus?: null; events?: null; resync: drover.node.v1.Resync.$Shape; tokenRequest?: null }|{ message?: "tokenRequest"; hello?: null; heartbeat?: null; podStatuses?: null; nodeStatus?: null; events?: null; resync?: null; tokenRequest: drover.node.v1.TokenRequest.$Shape })
                );
            }

            /**
             * Properties of a Hello.
             * @deprecated Use drover.node.v1.Hello.$Properties instead.
             */
            interface IHello extends drover.node.v1.Hello.$Properties {
            }

            /** Represents a Hello. */
            class Hello {

                /**
                 * Constructs a new Hello.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: drover.node.v1.Hello.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** Hello nodeName. */
                nodeName: string;

                /** Hello nodeJson. */
                nodeJson: Uint8Array;

                /** Hello bootId. */
                bootId: string;

                /** Hello agentVersion. */
                agentVersion: string;

                /**
                 * Encodes the specified Hello message. Does not implicitly {@link drover.node.v1.Hello.verify|verify} messages.
                 * @param message Hello message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: drover.node.v1.Hello.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a Hello message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {drover.node.v1.Hello & drover.node.v1.Hello.$Shape} Hello
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): drover.node.v1.Hello & drover.node.v1.Hello.$Shape;
            }

            namespace Hello {

                /** Properties of a Hello. */
                interface $Properties {

                    /** Hello nodeName */
                    nodeName?: (string|null);

                    /** Hello nodeJson */
                    nodeJson?: (Uint8Array|null);

                    /** Hello bootId */
                    bootId?: (string|null);

                    /** Hello agentVersion */
                    agentVersion?: (string|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a Hello. */
                type $Shape = drover.node.v1.Hello.$Properties;
            }

            /**
             * Properties of a Heartbeat.
             * @deprecated Use drover.node.v1.Heartbeat.$Properties instead.
             */
            interface IHeartbeat extends drover.node.v1.Heartbeat.$Properties {
            }

            /** Represents a Heartbeat. */
            class Heartbeat {

                /**
                 * Constructs a new Heartbeat.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: drover.node.v1.Heartbeat.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** Heartbeat programmedRevision. */
                programmedRevision: number;

                /** Heartbeat peersRevision. */
                peersRevision: number;

                /** Heartbeat sentAtMs. */
                sentAtMs: number;

                /**
                 * Encodes the specified Heartbeat message. Does not implicitly {@link drover.node.v1.Heartbeat.verify|verify} messages.
                 * @param message Heartbeat message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: drover.node.v1.Heartbeat.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a Heartbeat message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {drover.node.v1.Heartbeat & drover.node.v1.Heartbeat.$Shape} Heartbeat
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): drover.node.v1.Heartbeat & drover.node.v1.Heartbeat.$Shape;
            }

            namespace Heartbeat {

                /** Properties of a Heartbeat. */
                interface $Properties {

                    /** Heartbeat programmedRevision */
                    programmedRevision?: (number|null);

                    /** Heartbeat peersRevision */
                    peersRevision?: (number|null);

                    /** Heartbeat sentAtMs */
                    sentAtMs?: (number|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a Heartbeat. */
                type $Shape = drover.node.v1.Heartbeat.$Properties;
            }

            /**
             * Properties of a PodStatuses.
             * @deprecated Use drover.node.v1.PodStatuses.$Properties instead.
             */
            interface IPodStatuses extends drover.node.v1.PodStatuses.$Properties {
            }

            /** Represents a PodStatuses. */
            class PodStatuses {

                /**
                 * Constructs a new PodStatuses.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: drover.node.v1.PodStatuses.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** PodStatuses reports. */
                reports: drover.node.v1.PodStatusReport.$Properties[];

                /**
                 * Encodes the specified PodStatuses message. Does not implicitly {@link drover.node.v1.PodStatuses.verify|verify} messages.
                 * @param message PodStatuses message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: drover.node.v1.PodStatuses.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a PodStatuses message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {drover.node.v1.PodStatuses & drover.node.v1.PodStatuses.$Shape} PodStatuses
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): drover.node.v1.PodStatuses & drover.node.v1.PodStatuses.$Shape;
            }

            namespace PodStatuses {

                /** Properties of a PodStatuses. */
                interface $Properties {

                    /** PodStatuses reports */
                    reports?: (drover.node.v1.PodStatusReport.$Properties[]|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a PodStatuses. */
                type $Shape = drover.node.v1.PodStatuses.$Properties;
            }

            /**
             * Properties of a PodStatusReport.
             * @deprecated Use drover.node.v1.PodStatusReport.$Properties instead.
             */
            interface IPodStatusReport extends drover.node.v1.PodStatusReport.$Properties {
            }

            /** Represents a PodStatusReport. */
            class PodStatusReport {

                /**
                 * Constructs a new PodStatusReport.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: drover.node.v1.PodStatusReport.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** PodStatusReport namespace. */
                namespace: string;

                /** PodStatusReport name. */
                name: string;

                /** PodStatusReport uid. */
                uid: string;

                /** PodStatusReport statusJson. */
                statusJson: Uint8Array;

                /** PodStatusReport removed. */
                removed: boolean;

                /**
                 * Encodes the specified PodStatusReport message. Does not implicitly {@link drover.node.v1.PodStatusReport.verify|verify} messages.
                 * @param message PodStatusReport message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: drover.node.v1.PodStatusReport.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a PodStatusReport message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {drover.node.v1.PodStatusReport & drover.node.v1.PodStatusReport.$Shape} PodStatusReport
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): drover.node.v1.PodStatusReport & drover.node.v1.PodStatusReport.$Shape;
            }

            namespace PodStatusReport {

                /** Properties of a PodStatusReport. */
                interface $Properties {

                    /** PodStatusReport namespace */
                    namespace?: (string|null);

                    /** PodStatusReport name */
                    name?: (string|null);

                    /** PodStatusReport uid */
                    uid?: (string|null);

                    /** PodStatusReport statusJson */
                    statusJson?: (Uint8Array|null);

                    /** PodStatusReport removed */
                    removed?: (boolean|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a PodStatusReport. */
                type $Shape = drover.node.v1.PodStatusReport.$Properties;
            }

            /**
             * Properties of a NodeStatus.
             * @deprecated Use drover.node.v1.NodeStatus.$Properties instead.
             */
            interface INodeStatus extends drover.node.v1.NodeStatus.$Properties {
            }

            /** Represents a NodeStatus. */
            class NodeStatus {

                /**
                 * Constructs a new NodeStatus.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: drover.node.v1.NodeStatus.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** NodeStatus statusJson. */
                statusJson: Uint8Array;

                /**
                 * Encodes the specified NodeStatus message. Does not implicitly {@link drover.node.v1.NodeStatus.verify|verify} messages.
                 * @param message NodeStatus message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: drover.node.v1.NodeStatus.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a NodeStatus message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {drover.node.v1.NodeStatus & drover.node.v1.NodeStatus.$Shape} NodeStatus
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): drover.node.v1.NodeStatus & drover.node.v1.NodeStatus.$Shape;
            }

            namespace NodeStatus {

                /** Properties of a NodeStatus. */
                interface $Properties {

                    /** NodeStatus statusJson */
                    statusJson?: (Uint8Array|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a NodeStatus. */
                type $Shape = drover.node.v1.NodeStatus.$Properties;
            }

            /**
             * Properties of an Events.
             * @deprecated Use drover.node.v1.Events.$Properties instead.
             */
            interface IEvents extends drover.node.v1.Events.$Properties {
            }

            /** Represents an Events. */
            class Events {

                /**
                 * Constructs a new Events.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: drover.node.v1.Events.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** Events events. */
                events: drover.node.v1.NodeEvent.$Properties[];

                /**
                 * Encodes the specified Events message. Does not implicitly {@link drover.node.v1.Events.verify|verify} messages.
                 * @param message Events message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: drover.node.v1.Events.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes an Events message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {drover.node.v1.Events & drover.node.v1.Events.$Shape} Events
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): drover.node.v1.Events & drover.node.v1.Events.$Shape;
            }

            namespace Events {

                /** Properties of an Events. */
                interface $Properties {

                    /** Events events */
                    events?: (drover.node.v1.NodeEvent.$Properties[]|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of an Events. */
                type $Shape = drover.node.v1.Events.$Properties;
            }

            /**
             * Properties of a NodeEvent.
             * @deprecated Use drover.node.v1.NodeEvent.$Properties instead.
             */
            interface INodeEvent extends drover.node.v1.NodeEvent.$Properties {
            }

            /** Represents a NodeEvent. */
            class NodeEvent {

                /**
                 * Constructs a new NodeEvent.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: drover.node.v1.NodeEvent.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** NodeEvent kind. */
                kind: string;

                /** NodeEvent namespace. */
                namespace: string;

                /** NodeEvent name. */
                name: string;

                /** NodeEvent uid. */
                uid: string;

                /** NodeEvent type. */
                type: string;

                /** NodeEvent reason. */
                reason: string;

                /** NodeEvent message. */
                message: string;

                /** NodeEvent fieldPath. */
                fieldPath: string;

                /**
                 * Encodes the specified NodeEvent message. Does not implicitly {@link drover.node.v1.NodeEvent.verify|verify} messages.
                 * @param message NodeEvent message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: drover.node.v1.NodeEvent.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a NodeEvent message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {drover.node.v1.NodeEvent & drover.node.v1.NodeEvent.$Shape} NodeEvent
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): drover.node.v1.NodeEvent & drover.node.v1.NodeEvent.$Shape;
            }

            namespace NodeEvent {

                /** Properties of a NodeEvent. */
                interface $Properties {

                    /** NodeEvent kind */
                    kind?: (string|null);

                    /** NodeEvent namespace */
                    namespace?: (string|null);

                    /** NodeEvent name */
                    name?: (string|null);

                    /** NodeEvent uid */
                    uid?: (string|null);

                    /** NodeEvent type */
                    type?: (string|null);

                    /** NodeEvent reason */
                    reason?: (string|null);

                    /** NodeEvent message */
                    message?: (string|null);

                    /** NodeEvent fieldPath */
                    fieldPath?: (string|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a NodeEvent. */
                type $Shape = drover.node.v1.NodeEvent.$Properties;
            }

            /**
             * Properties of a Resync.
             * @deprecated Use drover.node.v1.Resync.$Properties instead.
             */
            interface IResync extends drover.node.v1.Resync.$Properties {
            }

            /** Represents a Resync. */
            class Resync {

                /**
                 * Constructs a new Resync.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: drover.node.v1.Resync.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** Resync table. */
                table: drover.node.v1.Table;

                /**
                 * Encodes the specified Resync message. Does not implicitly {@link drover.node.v1.Resync.verify|verify} messages.
                 * @param message Resync message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: drover.node.v1.Resync.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a Resync message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {drover.node.v1.Resync & drover.node.v1.Resync.$Shape} Resync
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): drover.node.v1.Resync & drover.node.v1.Resync.$Shape;
            }

            namespace Resync {

                /** Properties of a Resync. */
                interface $Properties {

                    /** Resync table */
                    table?: (drover.node.v1.Table|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a Resync. */
                type $Shape = drover.node.v1.Resync.$Properties;
            }

            /**
             * Properties of a TokenRequest.
             * @deprecated Use drover.node.v1.TokenRequest.$Properties instead.
             */
            interface ITokenRequest extends drover.node.v1.TokenRequest.$Properties {
            }

            /** Represents a TokenRequest. */
            class TokenRequest {

                /**
                 * Constructs a new TokenRequest.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: drover.node.v1.TokenRequest.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** TokenRequest requestId. */
                requestId: number;

                /** TokenRequest namespace. */
                namespace: string;

                /** TokenRequest podName. */
                podName: string;

                /** TokenRequest podUid. */
                podUid: string;

                /** TokenRequest serviceAccount. */
                serviceAccount: string;

                /** TokenRequest audiences. */
                audiences: string[];

                /** TokenRequest expirationSeconds. */
                expirationSeconds: number;

                /**
                 * Encodes the specified TokenRequest message. Does not implicitly {@link drover.node.v1.TokenRequest.verify|verify} messages.
                 * @param message TokenRequest message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: drover.node.v1.TokenRequest.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a TokenRequest message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {drover.node.v1.TokenRequest & drover.node.v1.TokenRequest.$Shape} TokenRequest
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): drover.node.v1.TokenRequest & drover.node.v1.TokenRequest.$Shape;
            }

            namespace TokenRequest {

                /** Properties of a TokenRequest. */
                interface $Properties {

                    /** TokenRequest requestId */
                    requestId?: (number|null);

                    /** TokenRequest namespace */
                    namespace?: (string|null);

                    /** TokenRequest podName */
                    podName?: (string|null);

                    /** TokenRequest podUid */
                    podUid?: (string|null);

                    /** TokenRequest serviceAccount */
                    serviceAccount?: (string|null);

                    /** TokenRequest audiences */
                    audiences?: (string[]|null);

                    /** TokenRequest expirationSeconds */
                    expirationSeconds?: (number|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a TokenRequest. */
                type $Shape = drover.node.v1.TokenRequest.$Properties;
            }

            /** Table enum. */
            enum Table {

                /** TABLE_UNSPECIFIED value */
                TABLE_UNSPECIFIED = 0,

                /** TABLE_ASSIGNMENTS value */
                TABLE_ASSIGNMENTS = 1,

                /** TABLE_SERVICES value */
                TABLE_SERVICES = 2,

                /** TABLE_PEERS value */
                TABLE_PEERS = 3,

                /** TABLE_POLICIES value */
                TABLE_POLICIES = 4
            }

            /**
             * Properties of a ServerMessage.
             * @deprecated Use drover.node.v1.ServerMessage.$Properties instead.
             */
            interface IServerMessage extends drover.node.v1.ServerMessage.$Properties {
            }

            /** Represents a ServerMessage. */
            class ServerMessage {

                /**
                 * Constructs a new ServerMessage.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: drover.node.v1.ServerMessage.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** ServerMessage welcome. */
                welcome?: (drover.node.v1.Welcome.$Properties|null);

                /** ServerMessage changes. */
                changes?: (drover.node.v1.Changes.$Properties|null);

                /** ServerMessage openStream. */
                openStream?: (drover.node.v1.OpenStream.$Properties|null);

                /** ServerMessage heartbeatAck. */
                heartbeatAck?: (drover.node.v1.HeartbeatAck.$Properties|null);

                /** ServerMessage tokenAnswer. */
                tokenAnswer?: (drover.node.v1.TokenAnswer.$Properties|null);

                /** ServerMessage message. */
                message?: ("welcome"|"changes"|"openStream"|"heartbeatAck"|"tokenAnswer");

                /**
                 * Encodes the specified ServerMessage message. Does not implicitly {@link drover.node.v1.ServerMessage.verify|verify} messages.
                 * @param message ServerMessage message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: drover.node.v1.ServerMessage.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a ServerMessage message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {drover.node.v1.ServerMessage & drover.node.v1.ServerMessage.$Shape} ServerMessage
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): drover.node.v1.ServerMessage & drover.node.v1.ServerMessage.$Shape;
            }

            namespace ServerMessage {

                /** Properties of a ServerMessage. */
                interface $Properties {

                    /** ServerMessage welcome */
                    welcome?: (drover.node.v1.Welcome.$Properties|null);

                    /** ServerMessage changes */
                    changes?: (drover.node.v1.Changes.$Properties|null);

                    /** ServerMessage openStream */
                    openStream?: (drover.node.v1.OpenStream.$Properties|null);

                    /** ServerMessage heartbeatAck */
                    heartbeatAck?: (drover.node.v1.HeartbeatAck.$Properties|null);

                    /** ServerMessage tokenAnswer */
                    tokenAnswer?: (drover.node.v1.TokenAnswer.$Properties|null);

                    /** ServerMessage message */
                    message?: ("welcome"|"changes"|"openStream"|"heartbeatAck"|"tokenAnswer");

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Narrowed shape of a ServerMessage. */
                type $Shape = {
                  welcome?: drover.node.v1.Welcome.$Shape|null;
                  changes?: drover.node.v1.Changes.$Shape|null;
                  openStream?: drover.node.v1.OpenStream.$Shape|null;
                  heartbeatAck?: drover.node.v1.HeartbeatAck.$Shape|null;
                  tokenAnswer?: drover.node.v1.TokenAnswer.$Shape|null;
                  $unknowns?: Uint8Array[];
                } & (
                  ({ message?: undefined; welcome?: null; changes?: null; openStream?: null; heartbeatAck?: null; tokenAnswer?: null }|{ message?: "welcome"; welcome: drover.node.v1.Welcome.$Shape; changes?: null; openStream?: null; heartbeatAck?: null; tokenAnswer?: null }|{ message?: "changes"; welcome?: null; changes: drover.node.v1.Changes.$Shape; openStream?: null; heartbeatAck?: null; tokenAnswer?: null }|{ message?: "openStream"; welcome?: null; changes?: null; openStream: drover.node.v1.OpenStream.$Shape; heartbeatAck?: null; tokenAnswer?: null }|{ message?: "heartbeatAck"; welcome?: null; changes?: null; openStream?: null; heartbeatAck: drover.node.v1.HeartbeatAck.$Shape; tokenAnswer?: null }|{ message?: "tokenAnswer"; welcome?: null; changes?: null; openStream?: null; heartbeatAck?: null; tokenAnswer: drover.node.v1.TokenAnswer.$Shape })
                );
            }

            /**
             * Properties of a TokenAnswer.
             * @deprecated Use drover.node.v1.TokenAnswer.$Properties instead.
             */
            interface ITokenAnswer extends drover.node.v1.TokenAnswer.$Properties {
            }

            /** Represents a TokenAnswer. */
            class TokenAnswer {

                /**
                 * Constructs a new TokenAnswer.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: drover.node.v1.TokenAnswer.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** TokenAnswer requestId. */
                requestId: number;

                /** TokenAnswer token. */
                token: string;

                /** TokenAnswer errorCode. */
                errorCode: string;

                /** TokenAnswer errorMessage. */
                errorMessage: string;

                /**
                 * Encodes the specified TokenAnswer message. Does not implicitly {@link drover.node.v1.TokenAnswer.verify|verify} messages.
                 * @param message TokenAnswer message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: drover.node.v1.TokenAnswer.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a TokenAnswer message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {drover.node.v1.TokenAnswer & drover.node.v1.TokenAnswer.$Shape} TokenAnswer
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): drover.node.v1.TokenAnswer & drover.node.v1.TokenAnswer.$Shape;
            }

            namespace TokenAnswer {

                /** Properties of a TokenAnswer. */
                interface $Properties {

                    /** TokenAnswer requestId */
                    requestId?: (number|null);

                    /** TokenAnswer token */
                    token?: (string|null);

                    /** TokenAnswer errorCode */
                    errorCode?: (string|null);

                    /** TokenAnswer errorMessage */
                    errorMessage?: (string|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a TokenAnswer. */
                type $Shape = drover.node.v1.TokenAnswer.$Properties;
            }

            /**
             * Properties of a Welcome.
             * @deprecated Use drover.node.v1.Welcome.$Properties instead.
             */
            interface IWelcome extends drover.node.v1.Welcome.$Properties {
            }

            /** Represents a Welcome. */
            class Welcome {

                /**
                 * Constructs a new Welcome.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: drover.node.v1.Welcome.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** Welcome heartbeatIntervalMs. */
                heartbeatIntervalMs: number;

                /** Welcome clusterConfigJson. */
                clusterConfigJson: Uint8Array;

                /** Welcome serverId. */
                serverId: string;

                /** Welcome exclusiveLeaseMs. */
                exclusiveLeaseMs: number;

                /**
                 * Encodes the specified Welcome message. Does not implicitly {@link drover.node.v1.Welcome.verify|verify} messages.
                 * @param message Welcome message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: drover.node.v1.Welcome.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a Welcome message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {drover.node.v1.Welcome & drover.node.v1.Welcome.$Shape} Welcome
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): drover.node.v1.Welcome & drover.node.v1.Welcome.$Shape;
            }

            namespace Welcome {

                /** Properties of a Welcome. */
                interface $Properties {

                    /** Welcome heartbeatIntervalMs */
                    heartbeatIntervalMs?: (number|null);

                    /** Welcome clusterConfigJson */
                    clusterConfigJson?: (Uint8Array|null);

                    /** Welcome serverId */
                    serverId?: (string|null);

                    /** Welcome exclusiveLeaseMs */
                    exclusiveLeaseMs?: (number|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a Welcome. */
                type $Shape = drover.node.v1.Welcome.$Properties;
            }

            /**
             * Properties of a HeartbeatAck.
             * @deprecated Use drover.node.v1.HeartbeatAck.$Properties instead.
             */
            interface IHeartbeatAck extends drover.node.v1.HeartbeatAck.$Properties {
            }

            /** Represents a HeartbeatAck. */
            class HeartbeatAck {

                /**
                 * Constructs a new HeartbeatAck.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: drover.node.v1.HeartbeatAck.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** HeartbeatAck grantedMs. */
                grantedMs: number;

                /** HeartbeatAck servers. */
                servers: string[];

                /**
                 * Encodes the specified HeartbeatAck message. Does not implicitly {@link drover.node.v1.HeartbeatAck.verify|verify} messages.
                 * @param message HeartbeatAck message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: drover.node.v1.HeartbeatAck.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a HeartbeatAck message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {drover.node.v1.HeartbeatAck & drover.node.v1.HeartbeatAck.$Shape} HeartbeatAck
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): drover.node.v1.HeartbeatAck & drover.node.v1.HeartbeatAck.$Shape;
            }

            namespace HeartbeatAck {

                /** Properties of a HeartbeatAck. */
                interface $Properties {

                    /** HeartbeatAck grantedMs */
                    grantedMs?: (number|null);

                    /** HeartbeatAck servers */
                    servers?: (string[]|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a HeartbeatAck. */
                type $Shape = drover.node.v1.HeartbeatAck.$Properties;
            }

            /**
             * Properties of a Changes.
             * @deprecated Use drover.node.v1.Changes.$Properties instead.
             */
            interface IChanges extends drover.node.v1.Changes.$Properties {
            }

            /** Represents a Changes. */
            class Changes {

                /**
                 * Constructs a new Changes.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: drover.node.v1.Changes.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** Changes table. */
                table: drover.node.v1.Table;

                /** Changes type. */
                type: drover.node.v1.Changes.Type;

                /** Changes baseSequence. */
                baseSequence: number;

                /** Changes sequence. */
                sequence: number;

                /** Changes changes. */
                changes: drover.node.v1.Change.$Properties[];

                /** Changes last. */
                last: boolean;

                /**
                 * Encodes the specified Changes message. Does not implicitly {@link drover.node.v1.Changes.verify|verify} messages.
                 * @param message Changes message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: drover.node.v1.Changes.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a Changes message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {drover.node.v1.Changes & drover.node.v1.Changes.$Shape} Changes
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): drover.node.v1.Changes & drover.node.v1.Changes.$Shape;
            }

            namespace Changes {

                /** Properties of a Changes. */
                interface $Properties {

                    /** Changes table */
                    table?: (drover.node.v1.Table|null);

                    /** Changes type */
                    type?: (drover.node.v1.Changes.Type|null);

                    /** Changes baseSequence */
                    baseSequence?: (number|null);

                    /** Changes sequence */
                    sequence?: (number|null);

                    /** Changes changes */
                    changes?: (drover.node.v1.Change.$Properties[]|null);

                    /** Changes last */
                    last?: (boolean|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a Changes. */
                type $Shape = drover.node.v1.Changes.$Properties;

                /** Type enum. */
                enum Type {

                    /** TYPE_UNSPECIFIED value */
                    TYPE_UNSPECIFIED = 0,

                    /** COMPLETE value */
                    COMPLETE = 1,

                    /** INCREMENTAL value */
                    INCREMENTAL = 2
                }
            }

            /**
             * Properties of a Change.
             * @deprecated Use drover.node.v1.Change.$Properties instead.
             */
            interface IChange extends drover.node.v1.Change.$Properties {
            }

            /** Represents a Change. */
            class Change {

                /**
                 * Constructs a new Change.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: drover.node.v1.Change.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** Change key. */
                key: string;

                /** Change json. */
                json: Uint8Array;

                /**
                 * Encodes the specified Change message. Does not implicitly {@link drover.node.v1.Change.verify|verify} messages.
                 * @param message Change message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: drover.node.v1.Change.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a Change message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {drover.node.v1.Change & drover.node.v1.Change.$Shape} Change
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): drover.node.v1.Change & drover.node.v1.Change.$Shape;
            }

            namespace Change {

                /** Properties of a Change. */
                interface $Properties {

                    /** Change key */
                    key?: (string|null);

                    /** Change json */
                    json?: (Uint8Array|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a Change. */
                type $Shape = drover.node.v1.Change.$Properties;
            }

            /**
             * Properties of an OpenStream.
             * @deprecated Use drover.node.v1.OpenStream.$Properties instead.
             */
            interface IOpenStream extends drover.node.v1.OpenStream.$Properties {
            }

            /** Represents an OpenStream. */
            class OpenStream {

                /**
                 * Constructs a new OpenStream.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: drover.node.v1.OpenStream.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** OpenStream streamId. */
                streamId: string;

                /** OpenStream verb. */
                verb: string;

                /** OpenStream requestJson. */
                requestJson: Uint8Array;

                /**
                 * Encodes the specified OpenStream message. Does not implicitly {@link drover.node.v1.OpenStream.verify|verify} messages.
                 * @param message OpenStream message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: drover.node.v1.OpenStream.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes an OpenStream message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {drover.node.v1.OpenStream & drover.node.v1.OpenStream.$Shape} OpenStream
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): drover.node.v1.OpenStream & drover.node.v1.OpenStream.$Shape;
            }

            namespace OpenStream {

                /** Properties of an OpenStream. */
                interface $Properties {

                    /** OpenStream streamId */
                    streamId?: (string|null);

                    /** OpenStream verb */
                    verb?: (string|null);

                    /** OpenStream requestJson */
                    requestJson?: (Uint8Array|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of an OpenStream. */
                type $Shape = drover.node.v1.OpenStream.$Properties;
            }

            /**
             * Properties of a StreamFrame.
             * @deprecated Use drover.node.v1.StreamFrame.$Properties instead.
             */
            interface IStreamFrame extends drover.node.v1.StreamFrame.$Properties {
            }

            /** Represents a StreamFrame. */
            class StreamFrame {

                /**
                 * Constructs a new StreamFrame.
                 * @param [properties] Properties to set
                 */
                constructor(properties?: drover.node.v1.StreamFrame.$Properties);

                /** Unknown fields preserved while decoding when enabled */
                $unknowns?: Uint8Array[];

                /** StreamFrame channel. */
                channel: number;

                /** StreamFrame data. */
                data: Uint8Array;

                /** StreamFrame end. */
                end: boolean;

                /** StreamFrame errorCode. */
                errorCode: string;

                /** StreamFrame errorMessage. */
                errorMessage: string;

                /**
                 * Encodes the specified StreamFrame message. Does not implicitly {@link drover.node.v1.StreamFrame.verify|verify} messages.
                 * @param message StreamFrame message or plain object to encode
                 * @param [writer] Writer to encode to
                 * @returns Writer
                 */
                static encode(message: drover.node.v1.StreamFrame.$Properties, writer?: $protobuf.Writer): $protobuf.Writer;

                /**
                 * Decodes a StreamFrame message from the specified reader or buffer.
                 * @param reader Reader or buffer to decode from
                 * @param [length] Message length if known beforehand
                 * @returns {drover.node.v1.StreamFrame & drover.node.v1.StreamFrame.$Shape} StreamFrame
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                static decode(reader: ($protobuf.Reader|Uint8Array), length?: number): drover.node.v1.StreamFrame & drover.node.v1.StreamFrame.$Shape;
            }

            namespace StreamFrame {

                /** Properties of a StreamFrame. */
                interface $Properties {

                    /** StreamFrame channel */
                    channel?: (number|null);

                    /** StreamFrame data */
                    data?: (Uint8Array|null);

                    /** StreamFrame end */
                    end?: (boolean|null);

                    /** StreamFrame errorCode */
                    errorCode?: (string|null);

                    /** StreamFrame errorMessage */
                    errorMessage?: (string|null);

                    /** Unknown fields preserved while decoding when enabled */
                    $unknowns?: Uint8Array[];
                }

                /** Shape of a StreamFrame. */
                type $Shape = drover.node.v1.StreamFrame.$Properties;
            }
        }
    }
}
