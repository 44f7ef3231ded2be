// Generated from proto/drover/node/v1/node.proto by deploy/generate.js. Do not edit.
/*eslint-disable block-scoped-var, id-length, no-control-regex, no-magic-numbers, no-mixed-operators, no-prototype-builtins, no-redeclare, no-shadow, no-var, sort-vars, default-case, jsdoc/require-param*/
import $protobuf from "protobufjs/minimal.js";

// Common aliases
const $Reader = $protobuf.Reader, $Writer = $protobuf.Writer, $util = $protobuf.util;
const $Object = $util.global.Object, $undefined = $util.global.undefined, $Error = $util.global.Error, $RangeError = $util.global.RangeError;

// Exported root namespace
const $root = $protobuf.roots["default"] || ($protobuf.roots["default"] = {});

export const drover = $root.drover = (() => {

    /**
     * Namespace drover.
     * @exports drover
     * @namespace
     */
    const drover = {};

    drover.node = (function() {

        /**
         * Namespace node.
         * @memberof drover
         * @namespace
         */
        const node = {};

        node.v1 = (function() {

            /**
             * Namespace v1.
             * @memberof drover.node
             * @namespace
             */
            const v1 = {};

            v1.JoinRequest = (function() {

                /**
                 * Properties of a JoinRequest.
                 * @typedef {Object} drover.node.v1.JoinRequest.$Properties
                 * @property {string|null} [tokenId] JoinRequest tokenId
                 * @property {string|null} [tokenSecret] JoinRequest tokenSecret
                 * @property {string|null} [nodeName] JoinRequest nodeName
                 * @property {Uint8Array|null} [publicKey] JoinRequest publicKey
                 * @property {number|null} [clockMs] JoinRequest clockMs
                 * @property {string|null} [machineId] JoinRequest machineId
                 * @property {Uint8Array|null} [nodeJson] JoinRequest nodeJson
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */

                /**
                 * Properties of a JoinRequest.
                 * @memberof drover.node.v1
                 * @interface IJoinRequest
                 * @augments drover.node.v1.JoinRequest.$Properties
                 * @deprecated Use drover.node.v1.JoinRequest.$Properties instead.
                 */

                /**
                 * Shape of a JoinRequest.
                 * @typedef {drover.node.v1.JoinRequest.$Properties} drover.node.v1.JoinRequest.$Shape
                 */

                /**
                 * Constructs a new JoinRequest.
                 * @memberof drover.node.v1
                 * @classdesc Represents a JoinRequest.
                 * @constructor
                 * @param {drover.node.v1.JoinRequest.$Properties=} [properties] Properties to set
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */
                const JoinRequest = function (properties) {
                    if (properties)
                        for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                            if (properties[keys[i]] != null && keys[i] !== "__proto__")
                                this[keys[i]] = properties[keys[i]];
                };

                /**
                 * JoinRequest tokenId.
                 * @member {string} tokenId
                 * @memberof drover.node.v1.JoinRequest
                 * @instance
                 */
                JoinRequest.prototype.tokenId = "";

                /**
                 * JoinRequest tokenSecret.
                 * @member {string} tokenSecret
                 * @memberof drover.node.v1.JoinRequest
                 * @instance
                 */
                JoinRequest.prototype.tokenSecret = "";

                /**
                 * JoinRequest nodeName.
                 * @member {string} nodeName
                 * @memberof drover.node.v1.JoinRequest
                 * @instance
                 */
                JoinRequest.prototype.nodeName = "";

                /**
                 * JoinRequest publicKey.
                 * @member {Uint8Array} publicKey
                 * @memberof drover.node.v1.JoinRequest
                 * @instance
                 */
                JoinRequest.prototype.publicKey = $util.newBuffer([]);

                /**
                 * JoinRequest clockMs.
                 * @member {number} clockMs
                 * @memberof drover.node.v1.JoinRequest
                 * @instance
                 */
                JoinRequest.prototype.clockMs = $util.Long ? $util.Long.fromBits(0,0,true) : 0;

                /**
                 * JoinRequest machineId.
                 * @member {string} machineId
                 * @memberof drover.node.v1.JoinRequest
                 * @instance
                 */
                JoinRequest.prototype.machineId = "";

                /**
                 * JoinRequest nodeJson.
                 * @member {Uint8Array} nodeJson
                 * @memberof drover.node.v1.JoinRequest
                 * @instance
                 */
                JoinRequest.prototype.nodeJson = $util.newBuffer([]);

                /**
                 * Encodes the specified JoinRequest message. Does not implicitly {@link drover.node.v1.JoinRequest.verify|verify} messages.
                 * @function encode
                 * @memberof drover.node.v1.JoinRequest
                 * @static
                 * @param {drover.node.v1.JoinRequest.$Properties} message JoinRequest message or plain object to encode
                 * @param {$protobuf.Writer} [writer] Writer to encode to
                 * @returns {$protobuf.Writer} Writer
                 */
                JoinRequest.encode = function (message, writer, _depth) {
                    if (!writer)
                        writer = $Writer.create();
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $util.recursionLimit)
                        throw $Error("max depth exceeded");
                    if (message.tokenId != null && $Object.hasOwnProperty.call(message, "tokenId") && message.tokenId !== "")
                        writer.uint32(/* id 1, wireType 2 =*/10).string(message.tokenId);
                    if (message.tokenSecret != null && $Object.hasOwnProperty.call(message, "tokenSecret") && message.tokenSecret !== "")
                        writer.uint32(/* id 2, wireType 2 =*/18).string(message.tokenSecret);
                    if (message.nodeName != null && $Object.hasOwnProperty.call(message, "nodeName") && message.nodeName !== "")
                        writer.uint32(/* id 3, wireType 2 =*/26).string(message.nodeName);
                    if (message.publicKey != null && $Object.hasOwnProperty.call(message, "publicKey") && message.publicKey.length)
                        writer.uint32(/* id 4, wireType 2 =*/34).bytes(message.publicKey);
                    if (message.clockMs != null && $Object.hasOwnProperty.call(message, "clockMs") && (typeof message.clockMs === "object" ? message.clockMs.low || message.clockMs.high : message.clockMs !== 0))
                        writer.uint32(/* id 5, wireType 0 =*/40).uint64(message.clockMs);
                    if (message.machineId != null && $Object.hasOwnProperty.call(message, "machineId") && message.machineId !== "")
                        writer.uint32(/* id 6, wireType 2 =*/50).string(message.machineId);
                    if (message.nodeJson != null && $Object.hasOwnProperty.call(message, "nodeJson") && message.nodeJson.length)
                        writer.uint32(/* id 7, wireType 2 =*/58).bytes(message.nodeJson);
                    if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                        for (let i = 0; i < message.$unknowns.length; ++i)
                            writer.raw(message.$unknowns[i]);
                    return writer;
                };

                /**
                 * Decodes a JoinRequest message from the specified reader or buffer.
                 * @function decode
                 * @memberof drover.node.v1.JoinRequest
                 * @static
                 * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
                 * @param {number} [length] Message length if known beforehand
                 * @returns {drover.node.v1.JoinRequest & drover.node.v1.JoinRequest.$Shape} JoinRequest
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                JoinRequest.decode = function (reader, length, _end, _depth, _target) {
                    if (!(reader instanceof $Reader))
                        reader = $Reader.create(reader);
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $Reader.recursionLimit)
                        throw $Error("max depth exceeded");
                    let end, message, value;
                    if (length === $undefined)
                        end = reader.len;
                    else {
                        end = reader.pos + length;
                        if (end > reader.len)
                            throw $RangeError("index out of range");
                        length = reader.len;
                        reader.len = end;
                    }
                    message = _target || new $root.drover.node.v1.JoinRequest();
                    while (reader.pos < end) {
                        let start = reader.pos;
                        let tag = reader.tag();
                        if (tag === _end) {
                            _end = $undefined;
                            break;
                        }
                        let wireType = tag & 7;
                        switch (tag >>>= 3) {
                        case 1: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.tokenId = value;
                                else
                                    delete message.tokenId;
                                continue;
                            }
                        case 2: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.tokenSecret = value;
                                else
                                    delete message.tokenSecret;
                                continue;
                            }
                        case 3: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.nodeName = value;
                                else
                                    delete message.nodeName;
                                continue;
                            }
                        case 4: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.bytes()).length)
                                    message.publicKey = value;
                                else
                                    delete message.publicKey;
                                continue;
                            }
                        case 5: {
                                if (wireType !== 0)
                                    break;
                                if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                                    message.clockMs = value;
                                else
                                    delete message.clockMs;
                                continue;
                            }
                        case 6: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.machineId = value;
                                else
                                    delete message.machineId;
                                continue;
                            }
                        case 7: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.bytes()).length)
                                    message.nodeJson = value;
                                else
                                    delete message.nodeJson;
                                continue;
                            }
                        }
                        reader.skipType(wireType, _depth, tag);
                        if (!reader.discardUnknown) {
                            $util.makeProp(message, "$unknowns", false);
                            (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                        }
                    }
                    if (length !== $undefined) {
                        if (reader.pos !== end)
                            throw $RangeError("index out of range");
                        reader.len = length;
                    }
                    if (_end !== $undefined)
                        throw $Error("missing end group");
                    return message;
                };

                return JoinRequest;
            })();

            v1.JoinResponse = (function() {

                /**
                 * Properties of a JoinResponse.
                 * @typedef {Object} drover.node.v1.JoinResponse.$Properties
                 * @property {string|null} [certificate] JoinResponse certificate
                 * @property {string|null} [ca] JoinResponse ca
                 * @property {Array.<string>|null} [servers] JoinResponse servers
                 * @property {string|null} [clusterName] JoinResponse clusterName
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */

                /**
                 * Properties of a JoinResponse.
                 * @memberof drover.node.v1
                 * @interface IJoinResponse
                 * @augments drover.node.v1.JoinResponse.$Properties
                 * @deprecated Use drover.node.v1.JoinResponse.$Properties instead.
                 */

                /**
                 * Shape of a JoinResponse.
                 * @typedef {drover.node.v1.JoinResponse.$Properties} drover.node.v1.JoinResponse.$Shape
                 */

                /**
                 * Constructs a new JoinResponse.
                 * @memberof drover.node.v1
                 * @classdesc Represents a JoinResponse.
                 * @constructor
                 * @param {drover.node.v1.JoinResponse.$Properties=} [properties] Properties to set
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */
                const JoinResponse = function (properties) {
                    this.servers = [];
                    if (properties)
                        for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                            if (properties[keys[i]] != null && keys[i] !== "__proto__")
                                this[keys[i]] = properties[keys[i]];
                };

                /**
                 * JoinResponse certificate.
                 * @member {string} certificate
                 * @memberof drover.node.v1.JoinResponse
                 * @instance
                 */
                JoinResponse.prototype.certificate = "";

                /**
                 * JoinResponse ca.
                 * @member {string} ca
                 * @memberof drover.node.v1.JoinResponse
                 * @instance
                 */
                JoinResponse.prototype.ca = "";

                /**
                 * JoinResponse servers.
                 * @member {Array.<string>} servers
                 * @memberof drover.node.v1.JoinResponse
                 * @instance
                 */
                JoinResponse.prototype.servers = $util.emptyArray;

                /**
                 * JoinResponse clusterName.
                 * @member {string} clusterName
                 * @memberof drover.node.v1.JoinResponse
                 * @instance
                 */
                JoinResponse.prototype.clusterName = "";

                /**
                 * Encodes the specified JoinResponse message. Does not implicitly {@link drover.node.v1.JoinResponse.verify|verify} messages.
                 * @function encode
                 * @memberof drover.node.v1.JoinResponse
                 * @static
                 * @param {drover.node.v1.JoinResponse.$Properties} message JoinResponse message or plain object to encode
                 * @param {$protobuf.Writer} [writer] Writer to encode to
                 * @returns {$protobuf.Writer} Writer
                 */
                JoinResponse.encode = function (message, writer, _depth) {
                    if (!writer)
                        writer = $Writer.create();
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $util.recursionLimit)
                        throw $Error("max depth exceeded");
                    if (message.certificate != null && $Object.hasOwnProperty.call(message, "certificate") && message.certificate !== "")
                        writer.uint32(/* id 1, wireType 2 =*/10).string(message.certificate);
                    if (message.ca != null && $Object.hasOwnProperty.call(message, "ca") && message.ca !== "")
                        writer.uint32(/* id 2, wireType 2 =*/18).string(message.ca);
                    if (message.servers != null && message.servers.length)
                        for (let i = 0; i < message.servers.length; ++i)
                            writer.uint32(/* id 3, wireType 2 =*/26).string(message.servers[i]);
                    if (message.clusterName != null && $Object.hasOwnProperty.call(message, "clusterName") && message.clusterName !== "")
                        writer.uint32(/* id 4, wireType 2 =*/34).string(message.clusterName);
                    if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                        for (let i = 0; i < message.$unknowns.length; ++i)
                            writer.raw(message.$unknowns[i]);
                    return writer;
                };

                /**
                 * Decodes a JoinResponse message from the specified reader or buffer.
                 * @function decode
                 * @memberof drover.node.v1.JoinResponse
                 * @static
                 * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
                 * @param {number} [length] Message length if known beforehand
                 * @returns {drover.node.v1.JoinResponse & drover.node.v1.JoinResponse.$Shape} JoinResponse
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                JoinResponse.decode = function (reader, length, _end, _depth, _target) {
                    if (!(reader instanceof $Reader))
                        reader = $Reader.create(reader);
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $Reader.recursionLimit)
                        throw $Error("max depth exceeded");
                    let end, message, value;
                    if (length === $undefined)
                        end = reader.len;
                    else {
                        end = reader.pos + length;
                        if (end > reader.len)
                            throw $RangeError("index out of range");
                        length = reader.len;
                        reader.len = end;
                    }
                    message = _target || new $root.drover.node.v1.JoinResponse();
                    while (reader.pos < end) {
                        let start = reader.pos;
                        let tag = reader.tag();
                        if (tag === _end) {
                            _end = $undefined;
                            break;
                        }
                        let wireType = tag & 7;
                        switch (tag >>>= 3) {
                        case 1: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.certificate = value;
                                else
                                    delete message.certificate;
                                continue;
                            }
                        case 2: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.ca = value;
                                else
                                    delete message.ca;
                                continue;
                            }
                        case 3: {
                                if (wireType !== 2)
                                    break;
                                if (!(message.servers && message.servers.length))
                                    message.servers = [];
                                message.servers.push(reader.stringVerify());
                                continue;
                            }
                        case 4: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.clusterName = value;
                                else
                                    delete message.clusterName;
                                continue;
                            }
                        }
                        reader.skipType(wireType, _depth, tag);
                        if (!reader.discardUnknown) {
                            $util.makeProp(message, "$unknowns", false);
                            (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                        }
                    }
                    if (length !== $undefined) {
                        if (reader.pos !== end)
                            throw $RangeError("index out of range");
                        reader.len = length;
                    }
                    if (_end !== $undefined)
                        throw $Error("missing end group");
                    return message;
                };

                return JoinResponse;
            })();

            v1.RenewRequest = (function() {

                /**
                 * Properties of a RenewRequest.
                 * @typedef {Object} drover.node.v1.RenewRequest.$Properties
                 * @property {Uint8Array|null} [publicKey] RenewRequest publicKey
                 * @property {number|null} [clockMs] RenewRequest clockMs
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */

                /**
                 * Properties of a RenewRequest.
                 * @memberof drover.node.v1
                 * @interface IRenewRequest
                 * @augments drover.node.v1.RenewRequest.$Properties
                 * @deprecated Use drover.node.v1.RenewRequest.$Properties instead.
                 */

                /**
                 * Shape of a RenewRequest.
                 * @typedef {drover.node.v1.RenewRequest.$Properties} drover.node.v1.RenewRequest.$Shape
                 */

                /**
                 * Constructs a new RenewRequest.
                 * @memberof drover.node.v1
                 * @classdesc Represents a RenewRequest.
                 * @constructor
                 * @param {drover.node.v1.RenewRequest.$Properties=} [properties] Properties to set
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */
                const RenewRequest = function (properties) {
                    if (properties)
                        for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                            if (properties[keys[i]] != null && keys[i] !== "__proto__")
                                this[keys[i]] = properties[keys[i]];
                };

                /**
                 * RenewRequest publicKey.
                 * @member {Uint8Array} publicKey
                 * @memberof drover.node.v1.RenewRequest
                 * @instance
                 */
                RenewRequest.prototype.publicKey = $util.newBuffer([]);

                /**
                 * RenewRequest clockMs.
                 * @member {number} clockMs
                 * @memberof drover.node.v1.RenewRequest
                 * @instance
                 */
                RenewRequest.prototype.clockMs = $util.Long ? $util.Long.fromBits(0,0,true) : 0;

                /**
                 * Encodes the specified RenewRequest message. Does not implicitly {@link drover.node.v1.RenewRequest.verify|verify} messages.
                 * @function encode
                 * @memberof drover.node.v1.RenewRequest
                 * @static
                 * @param {drover.node.v1.RenewRequest.$Properties} message RenewRequest message or plain object to encode
                 * @param {$protobuf.Writer} [writer] Writer to encode to
                 * @returns {$protobuf.Writer} Writer
                 */
                RenewRequest.encode = function (message, writer, _depth) {
                    if (!writer)
                        writer = $Writer.create();
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $util.recursionLimit)
                        throw $Error("max depth exceeded");
                    if (message.publicKey != null && $Object.hasOwnProperty.call(message, "publicKey") && message.publicKey.length)
                        writer.uint32(/* id 1, wireType 2 =*/10).bytes(message.publicKey);
                    if (message.clockMs != null && $Object.hasOwnProperty.call(message, "clockMs") && (typeof message.clockMs === "object" ? message.clockMs.low || message.clockMs.high : message.clockMs !== 0))
                        writer.uint32(/* id 2, wireType 0 =*/16).uint64(message.clockMs);
                    if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                        for (let i = 0; i < message.$unknowns.length; ++i)
                            writer.raw(message.$unknowns[i]);
                    return writer;
                };

                /**
                 * Decodes a RenewRequest message from the specified reader or buffer.
                 * @function decode
                 * @memberof drover.node.v1.RenewRequest
                 * @static
                 * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
                 * @param {number} [length] Message length if known beforehand
                 * @returns {drover.node.v1.RenewRequest & drover.node.v1.RenewRequest.$Shape} RenewRequest
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                RenewRequest.decode = function (reader, length, _end, _depth, _target) {
                    if (!(reader instanceof $Reader))
                        reader = $Reader.create(reader);
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $Reader.recursionLimit)
                        throw $Error("max depth exceeded");
                    let end, message, value;
                    if (length === $undefined)
                        end = reader.len;
                    else {
                        end = reader.pos + length;
                        if (end > reader.len)
                            throw $RangeError("index out of range");
                        length = reader.len;
                        reader.len = end;
                    }
                    message = _target || new $root.drover.node.v1.RenewRequest();
                    while (reader.pos < end) {
                        let start = reader.pos;
                        let tag = reader.tag();
                        if (tag === _end) {
                            _end = $undefined;
                            break;
                        }
                        let wireType = tag & 7;
                        switch (tag >>>= 3) {
                        case 1: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.bytes()).length)
                                    message.publicKey = value;
                                else
                                    delete message.publicKey;
                                continue;
                            }
                        case 2: {
                                if (wireType !== 0)
                                    break;
                                if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                                    message.clockMs = value;
                                else
                                    delete message.clockMs;
                                continue;
                            }
                        }
                        reader.skipType(wireType, _depth, tag);
                        if (!reader.discardUnknown) {
                            $util.makeProp(message, "$unknowns", false);
                            (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                        }
                    }
                    if (length !== $undefined) {
                        if (reader.pos !== end)
                            throw $RangeError("index out of range");
                        reader.len = length;
                    }
                    if (_end !== $undefined)
                        throw $Error("missing end group");
                    return message;
                };

                return RenewRequest;
            })();

            v1.RenewResponse = (function() {

                /**
                 * Properties of a RenewResponse.
                 * @typedef {Object} drover.node.v1.RenewResponse.$Properties
                 * @property {string|null} [certificate] RenewResponse certificate
                 * @property {string|null} [ca] RenewResponse ca
                 * @property {Array.<string>|null} [servers] RenewResponse servers
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */

                /**
                 * Properties of a RenewResponse.
                 * @memberof drover.node.v1
                 * @interface IRenewResponse
                 * @augments drover.node.v1.RenewResponse.$Properties
                 * @deprecated Use drover.node.v1.RenewResponse.$Properties instead.
                 */

                /**
                 * Shape of a RenewResponse.
                 * @typedef {drover.node.v1.RenewResponse.$Properties} drover.node.v1.RenewResponse.$Shape
                 */

                /**
                 * Constructs a new RenewResponse.
                 * @memberof drover.node.v1
                 * @classdesc Represents a RenewResponse.
                 * @constructor
                 * @param {drover.node.v1.RenewResponse.$Properties=} [properties] Properties to set
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */
                const RenewResponse = function (properties) {
                    this.servers = [];
                    if (properties)
                        for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                            if (properties[keys[i]] != null && keys[i] !== "__proto__")
                                this[keys[i]] = properties[keys[i]];
                };

                /**
                 * RenewResponse certificate.
                 * @member {string} certificate
                 * @memberof drover.node.v1.RenewResponse
                 * @instance
                 */
                RenewResponse.prototype.certificate = "";

                /**
                 * RenewResponse ca.
                 * @member {string} ca
                 * @memberof drover.node.v1.RenewResponse
                 * @instance
                 */
                RenewResponse.prototype.ca = "";

                /**
                 * RenewResponse servers.
                 * @member {Array.<string>} servers
                 * @memberof drover.node.v1.RenewResponse
                 * @instance
                 */
                RenewResponse.prototype.servers = $util.emptyArray;

                /**
                 * Encodes the specified RenewResponse message. Does not implicitly {@link drover.node.v1.RenewResponse.verify|verify} messages.
                 * @function encode
                 * @memberof drover.node.v1.RenewResponse
                 * @static
                 * @param {drover.node.v1.RenewResponse.$Properties} message RenewResponse message or plain object to encode
                 * @param {$protobuf.Writer} [writer] Writer to encode to
                 * @returns {$protobuf.Writer} Writer
                 */
                RenewResponse.encode = function (message, writer, _depth) {
                    if (!writer)
                        writer = $Writer.create();
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $util.recursionLimit)
                        throw $Error("max depth exceeded");
                    if (message.certificate != null && $Object.hasOwnProperty.call(message, "certificate") && message.certificate !== "")
                        writer.uint32(/* id 1, wireType 2 =*/10).string(message.certificate);
                    if (message.ca != null && $Object.hasOwnProperty.call(message, "ca") && message.ca !== "")
                        writer.uint32(/* id 2, wireType 2 =*/18).string(message.ca);
                    if (message.servers != null && message.servers.length)
                        for (let i = 0; i < message.servers.length; ++i)
                            writer.uint32(/* id 3, wireType 2 =*/26).string(message.servers[i]);
                    if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                        for (let i = 0; i < message.$unknowns.length; ++i)
                            writer.raw(message.$unknowns[i]);
                    return writer;
                };

                /**
                 * Decodes a RenewResponse message from the specified reader or buffer.
                 * @function decode
                 * @memberof drover.node.v1.RenewResponse
                 * @static
                 * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
                 * @param {number} [length] Message length if known beforehand
                 * @returns {drover.node.v1.RenewResponse & drover.node.v1.RenewResponse.$Shape} RenewResponse
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                RenewResponse.decode = function (reader, length, _end, _depth, _target) {
                    if (!(reader instanceof $Reader))
                        reader = $Reader.create(reader);
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $Reader.recursionLimit)
                        throw $Error("max depth exceeded");
                    let end, message, value;
                    if (length === $undefined)
                        end = reader.len;
                    else {
                        end = reader.pos + length;
                        if (end > reader.len)
                            throw $RangeError("index out of range");
                        length = reader.len;
                        reader.len = end;
                    }
                    message = _target || new $root.drover.node.v1.RenewResponse();
                    while (reader.pos < end) {
                        let start = reader.pos;
                        let tag = reader.tag();
                        if (tag === _end) {
                            _end = $undefined;
                            break;
                        }
                        let wireType = tag & 7;
                        switch (tag >>>= 3) {
                        case 1: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.certificate = value;
                                else
                                    delete message.certificate;
                                continue;
                            }
                        case 2: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.ca = value;
                                else
                                    delete message.ca;
                                continue;
                            }
                        case 3: {
                                if (wireType !== 2)
                                    break;
                                if (!(message.servers && message.servers.length))
                                    message.servers = [];
                                message.servers.push(reader.stringVerify());
                                continue;
                            }
                        }
                        reader.skipType(wireType, _depth, tag);
                        if (!reader.discardUnknown) {
                            $util.makeProp(message, "$unknowns", false);
                            (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                        }
                    }
                    if (length !== $undefined) {
                        if (reader.pos !== end)
                            throw $RangeError("index out of range");
                        reader.len = length;
                    }
                    if (_end !== $undefined)
                        throw $Error("missing end group");
                    return message;
                };

                return RenewResponse;
            })();

            v1.AgentMessage = (function() {

                /**
                 * Properties of an AgentMessage.
                 * @typedef {Object} drover.node.v1.AgentMessage.$Properties
                 * @property {drover.node.v1.Hello.$Properties|null} [hello] AgentMessage hello
                 * @property {drover.node.v1.Heartbeat.$Properties|null} [heartbeat] AgentMessage heartbeat
                 * @property {drover.node.v1.PodStatuses.$Properties|null} [podStatuses] AgentMessage podStatuses
                 * @property {drover.node.v1.NodeStatus.$Properties|null} [nodeStatus] AgentMessage nodeStatus
                 * @property {drover.node.v1.Events.$Properties|null} [events] AgentMessage events
                 * @property {drover.node.v1.Resync.$Properties|null} [resync] AgentMessage resync
                 * @property {drover.node.v1.TokenRequest.$Properties|null} [tokenRequest] AgentMessage tokenRequest
                 * @property {"hello"|"heartbeat"|"podStatuses"|"nodeStatus"|"events"|"resync"|"tokenRequest"} [message] AgentMessage message
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */

                /**
                 * Properties of an AgentMessage.
                 * @memberof drover.node.v1
                 * @interface IAgentMessage
                 * @augments drover.node.v1.AgentMessage.$Properties
                 * @deprecated Use drover.node.v1.AgentMessage.$Properties instead.
                 */

                /**
                 * Narrowed shape of an AgentMessage.
                 * @typedef {{
                 *   hello?: drover.node.v1.Hello.$Shape|null;
                 *   heartbeat?: drover.node.v1.Heartbeat.$Shape|null;
                 *   podStatuses?: drover.node.v1.PodStatuses.$Shape|null;
                 *   nodeStatus?: drover.node.v1.NodeStatus.$Shape|null;
                 *   events?: drover.node.v1.Events.$Shape|null;
                 *   resync?: drover.node.v1.Resync.$Shape|null;
                 *   tokenRequest?: drover.node.v1.TokenRequest.$Shape|null;
                 *   $unknowns?: Array.<Uint8Array>;
                 * } & (
                 *   ({ message?: undefined; hello?: null; heartbeat?: null; podStatuses?: null; nodeStatus?: null; events?: null; resync?: null; tokenRequest?: null }|{ message?: "hello"; hello: drover.node.v1.Hello.$Shape; heartbeat?: null; podStatuses?: null; nodeStatus?: null; events?: null; resync?: null; tokenRequest?: null }|{ message?: "heartbeat"; hello?: null; heartbeat: drover.node.v1.Heartbeat.$Shape; podStatuses?: null; nodeStatus?: null; events?: null; resync?: null; tokenRequest?: null }|{ message?: "podStatuses"; hello?: null; heartbeat?: null; podStatuses: drover.node.v1.PodStatuses.$Shape; nodeStatus?: null; events?: null; resync?: null; tokenRequest?: null }|{ message?: "nodeStatus"; hello?: null; heartbeat?: null; podStatuses?: null; nodeStatus: drover.node.v1.NodeStatus.$Shape; events?: null; resync?: null; tokenRequest?: null }|{ message?: "events"; hello?: null; heartbeat?: null; podStatuses?: null; nodeStatus?: null; events: drover.node.v1.Events.$Shape; resync?: null; tokenRequest?: null }|{ message?: "resync"; hello?: null; heartbeat?: null; podStatuses?: null; nodeStatus?: null; events?: null; resync: drover.node.v1.Resync.$Shape; tokenRequest?: null }|{ message?: "tokenRequest"; hello?: null; heartbeat?: null; podStatuses?: null; nodeStatus?: null; events?: null; resync?: null; tokenRequest: drover.node.v1.TokenRequest.$Shape })
                 * )} drover.node.v1.AgentMessage.$Shape
                 */

                /**
                 * Constructs a new AgentMessage.
                 * @memberof drover.node.v1
                 * @classdesc Represents an AgentMessage.
                 * @constructor
                 * @param {drover.node.v1.AgentMessage.$Properties=} [properties] Properties to set
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */
                const AgentMessage = function (properties) {
                    if (properties)
                        for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                            if (properties[keys[i]] != null && keys[i] !== "__proto__")
                                this[keys[i]] = properties[keys[i]];
                };

                /**
                 * AgentMessage hello.
                 * @member {drover.node.v1.Hello.$Properties|null|undefined} hello
                 * @memberof drover.node.v1.AgentMessage
                 * @instance
                 */
                AgentMessage.prototype.hello = null;

                /**
                 * AgentMessage heartbeat.
                 * @member {drover.node.v1.Heartbeat.$Properties|null|undefined} heartbeat
                 * @memberof drover.node.v1.AgentMessage
                 * @instance
                 */
                AgentMessage.prototype.heartbeat = null;

                /**
                 * AgentMessage podStatuses.
                 * @member {drover.node.v1.PodStatuses.$Properties|null|undefined} podStatuses
                 * @memberof drover.node.v1.AgentMessage
                 * @instance
                 */
                AgentMessage.prototype.podStatuses = null;

                /**
                 * AgentMessage nodeStatus.
                 * @member {drover.node.v1.NodeStatus.$Properties|null|undefined} nodeStatus
                 * @memberof drover.node.v1.AgentMessage
                 * @instance
                 */
                AgentMessage.prototype.nodeStatus = null;

                /**
                 * AgentMessage events.
                 * @member {drover.node.v1.Events.$Properties|null|undefined} events
                 * @memberof drover.node.v1.AgentMessage
                 * @instance
                 */
                AgentMessage.prototype.events = null;

                /**
                 * AgentMessage resync.
                 * @member {drover.node.v1.Resync.$Properties|null|undefined} resync
                 * @memberof drover.node.v1.AgentMessage
                 * @instance
                 */
                AgentMessage.prototype.resync = null;

                /**
                 * AgentMessage tokenRequest.
                 * @member {drover.node.v1.TokenRequest.$Properties|null|undefined} tokenRequest
                 * @memberof drover.node.v1.AgentMessage
                 * @instance
                 */
                AgentMessage.prototype.tokenRequest = null;

                // OneOf field names bound to virtual getters and setters
                let $oneOfFields;

                /**
                 * AgentMessage message.
                 * @member {"hello"|"heartbeat"|"podStatuses"|"nodeStatus"|"events"|"resync"|"tokenRequest"|undefined} message
                 * @memberof drover.node.v1.AgentMessage
                 * @instance
                 */
                $Object.defineProperty(AgentMessage.prototype, "message", {
                    get: $util.oneOfGetter($oneOfFields = ["hello", "heartbeat", "podStatuses", "nodeStatus", "events", "resync", "tokenRequest"]),
                    set: $util.oneOfSetter($oneOfFields)
                });

                /**
                 * Encodes the specified AgentMessage message. Does not implicitly {@link drover.node.v1.AgentMessage.verify|verify} messages.
                 * @function encode
                 * @memberof drover.node.v1.AgentMessage
                 * @static
                 * @param {drover.node.v1.AgentMessage.$Properties} message AgentMessage message or plain object to encode
                 * @param {$protobuf.Writer} [writer] Writer to encode to
                 * @returns {$protobuf.Writer} Writer
                 */
                AgentMessage.encode = function (message, writer, _depth) {
                    if (!writer)
                        writer = $Writer.create();
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $util.recursionLimit)
                        throw $Error("max depth exceeded");
                    if (message.hello != null && $Object.hasOwnProperty.call(message, "hello"))
                        $root.drover.node.v1.Hello.encode(message.hello, writer.uint32(/* id 1, wireType 2 =*/10).fork(), _depth + 1).ldelim();
                    if (message.heartbeat != null && $Object.hasOwnProperty.call(message, "heartbeat"))
                        $root.drover.node.v1.Heartbeat.encode(message.heartbeat, writer.uint32(/* id 2, wireType 2 =*/18).fork(), _depth + 1).ldelim();
                    if (message.podStatuses != null && $Object.hasOwnProperty.call(message, "podStatuses"))
                        $root.drover.node.v1.PodStatuses.encode(message.podStatuses, writer.uint32(/* id 3, wireType 2 =*/26).fork(), _depth + 1).ldelim();
                    if (message.nodeStatus != null && $Object.hasOwnProperty.call(message, "nodeStatus"))
                        $root.drover.node.v1.NodeStatus.encode(message.nodeStatus, writer.uint32(/* id 4, wireType 2 =*/34).fork(), _depth + 1).ldelim();
                    if (message.events != null && $Object.hasOwnProperty.call(message, "events"))
                        $root.drover.node.v1.Events.encode(message.events, writer.uint32(/* id 5, wireType 2 =*/42).fork(), _depth + 1).ldelim();
                    if (message.resync != null && $Object.hasOwnProperty.call(message, "resync"))
                        $root.drover.node.v1.Resync.encode(message.resync, writer.uint32(/* id 6, wireType 2 =*/50).fork(), _depth + 1).ldelim();
                    if (message.tokenRequest != null && $Object.hasOwnProperty.call(message, "tokenRequest"))
                        $root.drover.node.v1.TokenRequest.encode(message.tokenRequest, writer.uint32(/* id 7, wireType 2 =*/58).fork(), _depth + 1).ldelim();
                    if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                        for (let i = 0; i < message.$unknowns.length; ++i)
                            writer.raw(message.$unknowns[i]);
                    return writer;
                };

                /**
                 * Decodes an AgentMessage message from the specified reader or buffer.
                 * @function decode
                 * @memberof drover.node.v1.AgentMessage
                 * @static
                 * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
                 * @param {number} [length] Message length if known beforehand
                 * @returns {drover.node.v1.AgentMessage & drover.node.v1.AgentMessage.$Shape} AgentMessage
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                AgentMessage.decode = function (reader, length, _end, _depth, _target) {
                    if (!(reader instanceof $Reader))
                        reader = $Reader.create(reader);
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $Reader.recursionLimit)
                        throw $Error("max depth exceeded");
                    let end, message;
                    if (length === $undefined)
                        end = reader.len;
                    else {
                        end = reader.pos + length;
                        if (end > reader.len)
                            throw $RangeError("index out of range");
                        length = reader.len;
                        reader.len = end;
                    }
                    message = _target || new $root.drover.node.v1.AgentMessage();
                    while (reader.pos < end) {
                        let start = reader.pos;
                        let tag = reader.tag();
                        if (tag === _end) {
                            _end = $undefined;
                            break;
                        }
                        let wireType = tag & 7;
                        switch (tag >>>= 3) {
                        case 1: {
                                if (wireType !== 2)
                                    break;
                                message.hello = $root.drover.node.v1.Hello.decode(reader, reader.size(), $undefined, _depth + 1, message.hello);
                                message.message = "hello";
                                continue;
                            }
                        case 2: {
                                if (wireType !== 2)
                                    break;
                                message.heartbeat = $root.drover.node.v1.Heartbeat.decode(reader, reader.size(), $undefined, _depth + 1, message.heartbeat);
                                message.message = "heartbeat";
                                continue;
                            }
                        case 3: {
                                if (wireType !== 2)
                                    break;
                                message.podStatuses = $root.drover.node.v1.PodStatuses.decode(reader, reader.size(), $undefined, _depth + 1, message.podStatuses);
                                message.message = "podStatuses";
                                continue;
                            }
                        case 4: {
                                if (wireType !== 2)
                                    break;
                                message.nodeStatus = $root.drover.node.v1.NodeStatus.decode(reader, reader.size(), $undefined, _depth + 1, message.nodeStatus);
                                message.message = "nodeStatus";
                                continue;
                            }
                        case 5: {
                                if (wireType !== 2)
                                    break;
                                message.events = $root.drover.node.v1.Events.decode(reader, reader.size(), $undefined, _depth + 1, message.events);
                                message.message = "events";
                                continue;
                            }
                        case 6: {
                                if (wireType !== 2)
                                    break;
                                message.resync = $root.drover.node.v1.Resync.decode(reader, reader.size(), $undefined, _depth + 1, message.resync);
                                message.message = "resync";
                                continue;
                            }
                        case 7: {
                                if (wireType !== 2)
                                    break;
                                message.tokenRequest = $root.drover.node.v1.TokenRequest.decode(reader, reader.size(), $undefined, _depth + 1, message.tokenRequest);
                                message.message = "tokenRequest";
                                continue;
                            }
                        }
                        reader.skipType(wireType, _depth, tag);
                        if (!reader.discardUnknown) {
                            $util.makeProp(message, "$unknowns", false);
                            (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                        }
                    }
                    if (length !== $undefined) {
                        if (reader.pos !== end)
                            throw $RangeError("index out of range");
                        reader.len = length;
                    }
                    if (_end !== $undefined)
                        throw $Error("missing end group");
                    return message;
                };

                return AgentMessage;
            })();

            v1.Hello = (function() {

                /**
                 * Properties of a Hello.
                 * @typedef {Object} drover.node.v1.Hello.$Properties
                 * @property {string|null} [nodeName] Hello nodeName
                 * @property {Uint8Array|null} [nodeJson] Hello nodeJson
                 * @property {string|null} [bootId] Hello bootId
                 * @property {string|null} [agentVersion] Hello agentVersion
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */

                /**
                 * Properties of a Hello.
                 * @memberof drover.node.v1
                 * @interface IHello
                 * @augments drover.node.v1.Hello.$Properties
                 * @deprecated Use drover.node.v1.Hello.$Properties instead.
                 */

                /**
                 * Shape of a Hello.
                 * @typedef {drover.node.v1.Hello.$Properties} drover.node.v1.Hello.$Shape
                 */

                /**
                 * Constructs a new Hello.
                 * @memberof drover.node.v1
                 * @classdesc Represents a Hello.
                 * @constructor
                 * @param {drover.node.v1.Hello.$Properties=} [properties] Properties to set
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */
                const Hello = function (properties) {
                    if (properties)
                        for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                            if (properties[keys[i]] != null && keys[i] !== "__proto__")
                                this[keys[i]] = properties[keys[i]];
                };

                /**
                 * Hello nodeName.
                 * @member {string} nodeName
                 * @memberof drover.node.v1.Hello
                 * @instance
                 */
                Hello.prototype.nodeName = "";

                /**
                 * Hello nodeJson.
                 * @member {Uint8Array} nodeJson
                 * @memberof drover.node.v1.Hello
                 * @instance
                 */
                Hello.prototype.nodeJson = $util.newBuffer([]);

                /**
                 * Hello bootId.
                 * @member {string} bootId
                 * @memberof drover.node.v1.Hello
                 * @instance
                 */
                Hello.prototype.bootId = "";

                /**
                 * Hello agentVersion.
                 * @member {string} agentVersion
                 * @memberof drover.node.v1.Hello
                 * @instance
                 */
                Hello.prototype.agentVersion = "";

                /**
                 * Encodes the specified Hello message. Does not implicitly {@link drover.node.v1.Hello.verify|verify} messages.
                 * @function encode
                 * @memberof drover.node.v1.Hello
                 * @static
                 * @param {drover.node.v1.Hello.$Properties} message Hello message or plain object to encode
                 * @param {$protobuf.Writer} [writer] Writer to encode to
                 * @returns {$protobuf.Writer} Writer
                 */
                Hello.encode = function (message, writer, _depth) {
                    if (!writer)
                        writer = $Writer.create();
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $util.recursionLimit)
                        throw $Error("max depth exceeded");
                    if (message.nodeName != null && $Object.hasOwnProperty.call(message, "nodeName") && message.nodeName !== "")
                        writer.uint32(/* id 1, wireType 2 =*/10).string(message.nodeName);
                    if (message.nodeJson != null && $Object.hasOwnProperty.call(message, "nodeJson") && message.nodeJson.length)
                        writer.uint32(/* id 2, wireType 2 =*/18).bytes(message.nodeJson);
                    if (message.bootId != null && $Object.hasOwnProperty.call(message, "bootId") && message.bootId !== "")
                        writer.uint32(/* id 3, wireType 2 =*/26).string(message.bootId);
                    if (message.agentVersion != null && $Object.hasOwnProperty.call(message, "agentVersion") && message.agentVersion !== "")
                        writer.uint32(/* id 4, wireType 2 =*/34).string(message.agentVersion);
                    if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                        for (let i = 0; i < message.$unknowns.length; ++i)
                            writer.raw(message.$unknowns[i]);
                    return writer;
                };

                /**
                 * Decodes a Hello message from the specified reader or buffer.
                 * @function decode
                 * @memberof drover.node.v1.Hello
                 * @static
                 * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
                 * @param {number} [length] Message length if known beforehand
                 * @returns {drover.node.v1.Hello & drover.node.v1.Hello.$Shape} Hello
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                Hello.decode = function (reader, length, _end, _depth, _target) {
                    if (!(reader instanceof $Reader))
                        reader = $Reader.create(reader);
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $Reader.recursionLimit)
                        throw $Error("max depth exceeded");
                    let end, message, value;
                    if (length === $undefined)
                        end = reader.len;
                    else {
                        end = reader.pos + length;
                        if (end > reader.len)
                            throw $RangeError("index out of range");
                        length = reader.len;
                        reader.len = end;
                    }
                    message = _target || new $root.drover.node.v1.Hello();
                    while (reader.pos < end) {
                        let start = reader.pos;
                        let tag = reader.tag();
                        if (tag === _end) {
                            _end = $undefined;
                            break;
                        }
                        let wireType = tag & 7;
                        switch (tag >>>= 3) {
                        case 1: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.nodeName = value;
                                else
                                    delete message.nodeName;
                                continue;
                            }
                        case 2: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.bytes()).length)
                                    message.nodeJson = value;
                                else
                                    delete message.nodeJson;
                                continue;
                            }
                        case 3: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.bootId = value;
                                else
                                    delete message.bootId;
                                continue;
                            }
                        case 4: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.agentVersion = value;
                                else
                                    delete message.agentVersion;
                                continue;
                            }
                        }
                        reader.skipType(wireType, _depth, tag);
                        if (!reader.discardUnknown) {
                            $util.makeProp(message, "$unknowns", false);
                            (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                        }
                    }
                    if (length !== $undefined) {
                        if (reader.pos !== end)
                            throw $RangeError("index out of range");
                        reader.len = length;
                    }
                    if (_end !== $undefined)
                        throw $Error("missing end group");
                    return message;
                };

                return Hello;
            })();

            v1.Heartbeat = (function() {

                /**
                 * Properties of a Heartbeat.
                 * @typedef {Object} drover.node.v1.Heartbeat.$Properties
                 * @property {number|null} [programmedRevision] Heartbeat programmedRevision
                 * @property {number|null} [peersRevision] Heartbeat peersRevision
                 * @property {number|null} [sentAtMs] Heartbeat sentAtMs
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */

                /**
                 * Properties of a Heartbeat.
                 * @memberof drover.node.v1
                 * @interface IHeartbeat
                 * @augments drover.node.v1.Heartbeat.$Properties
                 * @deprecated Use drover.node.v1.Heartbeat.$Properties instead.
                 */

                /**
                 * Shape of a Heartbeat.
                 * @typedef {drover.node.v1.Heartbeat.$Properties} drover.node.v1.Heartbeat.$Shape
                 */

                /**
                 * Constructs a new Heartbeat.
                 * @memberof drover.node.v1
                 * @classdesc Represents a Heartbeat.
                 * @constructor
                 * @param {drover.node.v1.Heartbeat.$Properties=} [properties] Properties to set
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */
                const Heartbeat = function (properties) {
                    if (properties)
                        for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                            if (properties[keys[i]] != null && keys[i] !== "__proto__")
                                this[keys[i]] = properties[keys[i]];
                };

                /**
                 * Heartbeat programmedRevision.
                 * @member {number} programmedRevision
                 * @memberof drover.node.v1.Heartbeat
                 * @instance
                 */
                Heartbeat.prototype.programmedRevision = $util.Long ? $util.Long.fromBits(0,0,true) : 0;

                /**
                 * Heartbeat peersRevision.
                 * @member {number} peersRevision
                 * @memberof drover.node.v1.Heartbeat
                 * @instance
                 */
                Heartbeat.prototype.peersRevision = $util.Long ? $util.Long.fromBits(0,0,true) : 0;

                /**
                 * Heartbeat sentAtMs.
                 * @member {number} sentAtMs
                 * @memberof drover.node.v1.Heartbeat
                 * @instance
                 */
                Heartbeat.prototype.sentAtMs = $util.Long ? $util.Long.fromBits(0,0,true) : 0;

                /**
                 * Encodes the specified Heartbeat message. Does not implicitly {@link drover.node.v1.Heartbeat.verify|verify} messages.
                 * @function encode
                 * @memberof drover.node.v1.Heartbeat
                 * @static
                 * @param {drover.node.v1.Heartbeat.$Properties} message Heartbeat message or plain object to encode
                 * @param {$protobuf.Writer} [writer] Writer to encode to
                 * @returns {$protobuf.Writer} Writer
                 */
                Heartbeat.encode = function (message, writer, _depth) {
                    if (!writer)
                        writer = $Writer.create();
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $util.recursionLimit)
                        throw $Error("max depth exceeded");
                    if (message.programmedRevision != null && $Object.hasOwnProperty.call(message, "programmedRevision") && (typeof message.programmedRevision === "object" ? message.programmedRevision.low || message.programmedRevision.high : message.programmedRevision !== 0))
                        writer.uint32(/* id 1, wireType 0 =*/8).uint64(message.programmedRevision);
                    if (message.peersRevision != null && $Object.hasOwnProperty.call(message, "peersRevision") && (typeof message.peersRevision === "object" ? message.peersRevision.low || message.peersRevision.high : message.peersRevision !== 0))
                        writer.uint32(/* id 2, wireType 0 =*/16).uint64(message.peersRevision);
                    if (message.sentAtMs != null && $Object.hasOwnProperty.call(message, "sentAtMs") && (typeof message.sentAtMs === "object" ? message.sentAtMs.low || message.sentAtMs.high : message.sentAtMs !== 0))
                        writer.uint32(/* id 3, wireType 0 =*/24).uint64(message.sentAtMs);
                    if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                        for (let i = 0; i < message.$unknowns.length; ++i)
                            writer.raw(message.$unknowns[i]);
                    return writer;
                };

                /**
                 * Decodes a Heartbeat message from the specified reader or buffer.
                 * @function decode
                 * @memberof drover.node.v1.Heartbeat
                 * @static
                 * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
                 * @param {number} [length] Message length if known beforehand
                 * @returns {drover.node.v1.Heartbeat & drover.node.v1.Heartbeat.$Shape} Heartbeat
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                Heartbeat.decode = function (reader, length, _end, _depth, _target) {
                    if (!(reader instanceof $Reader))
                        reader = $Reader.create(reader);
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $Reader.recursionLimit)
                        throw $Error("max depth exceeded");
                    let end, message, value;
                    if (length === $undefined)
                        end = reader.len;
                    else {
                        end = reader.pos + length;
                        if (end > reader.len)
                            throw $RangeError("index out of range");
                        length = reader.len;
                        reader.len = end;
                    }
                    message = _target || new $root.drover.node.v1.Heartbeat();
                    while (reader.pos < end) {
                        let start = reader.pos;
                        let tag = reader.tag();
                        if (tag === _end) {
                            _end = $undefined;
                            break;
                        }
                        let wireType = tag & 7;
                        switch (tag >>>= 3) {
                        case 1: {
                                if (wireType !== 0)
                                    break;
                                if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                                    message.programmedRevision = value;
                                else
                                    delete message.programmedRevision;
                                continue;
                            }
                        case 2: {
                                if (wireType !== 0)
                                    break;
                                if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                                    message.peersRevision = value;
                                else
                                    delete message.peersRevision;
                                continue;
                            }
                        case 3: {
                                if (wireType !== 0)
                                    break;
                                if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                                    message.sentAtMs = value;
                                else
                                    delete message.sentAtMs;
                                continue;
                            }
                        }
                        reader.skipType(wireType, _depth, tag);
                        if (!reader.discardUnknown) {
                            $util.makeProp(message, "$unknowns", false);
                            (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                        }
                    }
                    if (length !== $undefined) {
                        if (reader.pos !== end)
                            throw $RangeError("index out of range");
                        reader.len = length;
                    }
                    if (_end !== $undefined)
                        throw $Error("missing end group");
                    return message;
                };

                return Heartbeat;
            })();

            v1.PodStatuses = (function() {

                /**
                 * Properties of a PodStatuses.
                 * @typedef {Object} drover.node.v1.PodStatuses.$Properties
                 * @property {Array.<drover.node.v1.PodStatusReport.$Properties>|null} [reports] PodStatuses reports
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */

                /**
                 * Properties of a PodStatuses.
                 * @memberof drover.node.v1
                 * @interface IPodStatuses
                 * @augments drover.node.v1.PodStatuses.$Properties
                 * @deprecated Use drover.node.v1.PodStatuses.$Properties instead.
                 */

                /**
                 * Shape of a PodStatuses.
                 * @typedef {drover.node.v1.PodStatuses.$Properties} drover.node.v1.PodStatuses.$Shape
                 */

                /**
                 * Constructs a new PodStatuses.
                 * @memberof drover.node.v1
                 * @classdesc Represents a PodStatuses.
                 * @constructor
                 * @param {drover.node.v1.PodStatuses.$Properties=} [properties] Properties to set
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */
                const PodStatuses = function (properties) {
                    this.reports = [];
                    if (properties)
                        for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                            if (properties[keys[i]] != null && keys[i] !== "__proto__")
                                this[keys[i]] = properties[keys[i]];
                };

                /**
                 * PodStatuses reports.
                 * @member {Array.<drover.node.v1.PodStatusReport.$Properties>} reports
                 * @memberof drover.node.v1.PodStatuses
                 * @instance
                 */
                PodStatuses.prototype.reports = $util.emptyArray;

                /**
                 * Encodes the specified PodStatuses message. Does not implicitly {@link drover.node.v1.PodStatuses.verify|verify} messages.
                 * @function encode
                 * @memberof drover.node.v1.PodStatuses
                 * @static
                 * @param {drover.node.v1.PodStatuses.$Properties} message PodStatuses message or plain object to encode
                 * @param {$protobuf.Writer} [writer] Writer to encode to
                 * @returns {$protobuf.Writer} Writer
                 */
                PodStatuses.encode = function (message, writer, _depth) {
                    if (!writer)
                        writer = $Writer.create();
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $util.recursionLimit)
                        throw $Error("max depth exceeded");
                    if (message.reports != null && message.reports.length)
                        for (let i = 0; i < message.reports.length; ++i)
                            $root.drover.node.v1.PodStatusReport.encode(message.reports[i], writer.uint32(/* id 1, wireType 2 =*/10).fork(), _depth + 1).ldelim();
                    if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                        for (let i = 0; i < message.$unknowns.length; ++i)
                            writer.raw(message.$unknowns[i]);
                    return writer;
                };

                /**
                 * Decodes a PodStatuses message from the specified reader or buffer.
                 * @function decode
                 * @memberof drover.node.v1.PodStatuses
                 * @static
                 * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
                 * @param {number} [length] Message length if known beforehand
                 * @returns {drover.node.v1.PodStatuses & drover.node.v1.PodStatuses.$Shape} PodStatuses
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                PodStatuses.decode = function (reader, length, _end, _depth, _target) {
                    if (!(reader instanceof $Reader))
                        reader = $Reader.create(reader);
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $Reader.recursionLimit)
                        throw $Error("max depth exceeded");
                    let end, message;
                    if (length === $undefined)
                        end = reader.len;
                    else {
                        end = reader.pos + length;
                        if (end > reader.len)
                            throw $RangeError("index out of range");
                        length = reader.len;
                        reader.len = end;
                    }
                    message = _target || new $root.drover.node.v1.PodStatuses();
                    while (reader.pos < end) {
                        let start = reader.pos;
                        let tag = reader.tag();
                        if (tag === _end) {
                            _end = $undefined;
                            break;
                        }
                        let wireType = tag & 7;
                        switch (tag >>>= 3) {
                        case 1: {
                                if (wireType !== 2)
                                    break;
                                if (!(message.reports && message.reports.length))
                                    message.reports = [];
                                message.reports.push($root.drover.node.v1.PodStatusReport.decode(reader, reader.size(), $undefined, _depth + 1));
                                continue;
                            }
                        }
                        reader.skipType(wireType, _depth, tag);
                        if (!reader.discardUnknown) {
                            $util.makeProp(message, "$unknowns", false);
                            (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                        }
                    }
                    if (length !== $undefined) {
                        if (reader.pos !== end)
                            throw $RangeError("index out of range");
                        reader.len = length;
                    }
                    if (_end !== $undefined)
                        throw $Error("missing end group");
                    return message;
                };

                return PodStatuses;
            })();

            v1.PodStatusReport = (function() {

                /**
                 * Properties of a PodStatusReport.
                 * @typedef {Object} drover.node.v1.PodStatusReport.$Properties
                 * @property {string|null} [namespace] PodStatusReport namespace
                 * @property {string|null} [name] PodStatusReport name
                 * @property {string|null} [uid] PodStatusReport uid
                 * @property {Uint8Array|null} [statusJson] PodStatusReport statusJson
                 * @property {boolean|null} [removed] PodStatusReport removed
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */

                /**
                 * Properties of a PodStatusReport.
                 * @memberof drover.node.v1
                 * @interface IPodStatusReport
                 * @augments drover.node.v1.PodStatusReport.$Properties
                 * @deprecated Use drover.node.v1.PodStatusReport.$Properties instead.
                 */

                /**
                 * Shape of a PodStatusReport.
                 * @typedef {drover.node.v1.PodStatusReport.$Properties} drover.node.v1.PodStatusReport.$Shape
                 */

                /**
                 * Constructs a new PodStatusReport.
                 * @memberof drover.node.v1
                 * @classdesc Represents a PodStatusReport.
                 * @constructor
                 * @param {drover.node.v1.PodStatusReport.$Properties=} [properties] Properties to set
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */
                const PodStatusReport = function (properties) {
                    if (properties)
                        for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                            if (properties[keys[i]] != null && keys[i] !== "__proto__")
                                this[keys[i]] = properties[keys[i]];
                };

                /**
                 * PodStatusReport namespace.
                 * @member {string} namespace
                 * @memberof drover.node.v1.PodStatusReport
                 * @instance
                 */
                PodStatusReport.prototype.namespace = "";

                /**
                 * PodStatusReport name.
                 * @member {string} name
                 * @memberof drover.node.v1.PodStatusReport
                 * @instance
                 */
                PodStatusReport.prototype.name = "";

                /**
                 * PodStatusReport uid.
                 * @member {string} uid
                 * @memberof drover.node.v1.PodStatusReport
                 * @instance
                 */
                PodStatusReport.prototype.uid = "";

                /**
                 * PodStatusReport statusJson.
                 * @member {Uint8Array} statusJson
                 * @memberof drover.node.v1.PodStatusReport
                 * @instance
                 */
                PodStatusReport.prototype.statusJson = $util.newBuffer([]);

                /**
                 * PodStatusReport removed.
                 * @member {boolean} removed
                 * @memberof drover.node.v1.PodStatusReport
                 * @instance
                 */
                PodStatusReport.prototype.removed = false;

                /**
                 * Encodes the specified PodStatusReport message. Does not implicitly {@link drover.node.v1.PodStatusReport.verify|verify} messages.
                 * @function encode
                 * @memberof drover.node.v1.PodStatusReport
                 * @static
                 * @param {drover.node.v1.PodStatusReport.$Properties} message PodStatusReport message or plain object to encode
                 * @param {$protobuf.Writer} [writer] Writer to encode to
                 * @returns {$protobuf.Writer} Writer
                 */
                PodStatusReport.encode = function (message, writer, _depth) {
                    if (!writer)
                        writer = $Writer.create();
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $util.recursionLimit)
                        throw $Error("max depth exceeded");
                    if (message.namespace != null && $Object.hasOwnProperty.call(message, "namespace") && message.namespace !== "")
                        writer.uint32(/* id 1, wireType 2 =*/10).string(message.namespace);
                    if (message.name != null && $Object.hasOwnProperty.call(message, "name") && message.name !== "")
                        writer.uint32(/* id 2, wireType 2 =*/18).string(message.name);
                    if (message.uid != null && $Object.hasOwnProperty.call(message, "uid") && message.uid !== "")
                        writer.uint32(/* id 3, wireType 2 =*/26).string(message.uid);
                    if (message.statusJson != null && $Object.hasOwnProperty.call(message, "statusJson") && message.statusJson.length)
                        writer.uint32(/* id 4, wireType 2 =*/34).bytes(message.statusJson);
                    if (message.removed != null && $Object.hasOwnProperty.call(message, "removed") && message.removed !== false)
                        writer.uint32(/* id 5, wireType 0 =*/40).bool(message.removed);
                    if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                        for (let i = 0; i < message.$unknowns.length; ++i)
                            writer.raw(message.$unknowns[i]);
                    return writer;
                };

                /**
                 * Decodes a PodStatusReport message from the specified reader or buffer.
                 * @function decode
                 * @memberof drover.node.v1.PodStatusReport
                 * @static
                 * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
                 * @param {number} [length] Message length if known beforehand
                 * @returns {drover.node.v1.PodStatusReport & drover.node.v1.PodStatusReport.$Shape} PodStatusReport
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                PodStatusReport.decode = function (reader, length, _end, _depth, _target) {
                    if (!(reader instanceof $Reader))
                        reader = $Reader.create(reader);
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $Reader.recursionLimit)
                        throw $Error("max depth exceeded");
                    let end, message, value;
                    if (length === $undefined)
                        end = reader.len;
                    else {
                        end = reader.pos + length;
                        if (end > reader.len)
                            throw $RangeError("index out of range");
                        length = reader.len;
                        reader.len = end;
                    }
                    message = _target || new $root.drover.node.v1.PodStatusReport();
                    while (reader.pos < end) {
                        let start = reader.pos;
                        let tag = reader.tag();
                        if (tag === _end) {
                            _end = $undefined;
                            break;
                        }
                        let wireType = tag & 7;
                        switch (tag >>>= 3) {
                        case 1: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.namespace = value;
                                else
                                    delete message.namespace;
                                continue;
                            }
                        case 2: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.name = value;
                                else
                                    delete message.name;
                                continue;
                            }
                        case 3: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.uid = value;
                                else
                                    delete message.uid;
                                continue;
                            }
                        case 4: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.bytes()).length)
                                    message.statusJson = value;
                                else
                                    delete message.statusJson;
                                continue;
                            }
                        case 5: {
                                if (wireType !== 0)
                                    break;
                                if (value = reader.bool())
                                    message.removed = value;
                                else
                                    delete message.removed;
                                continue;
                            }
                        }
                        reader.skipType(wireType, _depth, tag);
                        if (!reader.discardUnknown) {
                            $util.makeProp(message, "$unknowns", false);
                            (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                        }
                    }
                    if (length !== $undefined) {
                        if (reader.pos !== end)
                            throw $RangeError("index out of range");
                        reader.len = length;
                    }
                    if (_end !== $undefined)
                        throw $Error("missing end group");
                    return message;
                };

                return PodStatusReport;
            })();

            v1.NodeStatus = (function() {

                /**
                 * Properties of a NodeStatus.
                 * @typedef {Object} drover.node.v1.NodeStatus.$Properties
                 * @property {Uint8Array|null} [statusJson] NodeStatus statusJson
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */

                /**
                 * Properties of a NodeStatus.
                 * @memberof drover.node.v1
                 * @interface INodeStatus
                 * @augments drover.node.v1.NodeStatus.$Properties
                 * @deprecated Use drover.node.v1.NodeStatus.$Properties instead.
                 */

                /**
                 * Shape of a NodeStatus.
                 * @typedef {drover.node.v1.NodeStatus.$Properties} drover.node.v1.NodeStatus.$Shape
                 */

                /**
                 * Constructs a new NodeStatus.
                 * @memberof drover.node.v1
                 * @classdesc Represents a NodeStatus.
                 * @constructor
                 * @param {drover.node.v1.NodeStatus.$Properties=} [properties] Properties to set
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */
                const NodeStatus = function (properties) {
                    if (properties)
                        for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                            if (properties[keys[i]] != null && keys[i] !== "__proto__")
                                this[keys[i]] = properties[keys[i]];
                };

                /**
                 * NodeStatus statusJson.
                 * @member {Uint8Array} statusJson
                 * @memberof drover.node.v1.NodeStatus
                 * @instance
                 */
                NodeStatus.prototype.statusJson = $util.newBuffer([]);

                /**
                 * Encodes the specified NodeStatus message. Does not implicitly {@link drover.node.v1.NodeStatus.verify|verify} messages.
                 * @function encode
                 * @memberof drover.node.v1.NodeStatus
                 * @static
                 * @param {drover.node.v1.NodeStatus.$Properties} message NodeStatus message or plain object to encode
                 * @param {$protobuf.Writer} [writer] Writer to encode to
                 * @returns {$protobuf.Writer} Writer
                 */
                NodeStatus.encode = function (message, writer, _depth) {
                    if (!writer)
                        writer = $Writer.create();
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $util.recursionLimit)
                        throw $Error("max depth exceeded");
                    if (message.statusJson != null && $Object.hasOwnProperty.call(message, "statusJson") && message.statusJson.length)
                        writer.uint32(/* id 1, wireType 2 =*/10).bytes(message.statusJson);
                    if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                        for (let i = 0; i < message.$unknowns.length; ++i)
                            writer.raw(message.$unknowns[i]);
                    return writer;
                };

                /**
                 * Decodes a NodeStatus message from the specified reader or buffer.
                 * @function decode
                 * @memberof drover.node.v1.NodeStatus
                 * @static
                 * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
                 * @param {number} [length] Message length if known beforehand
                 * @returns {drover.node.v1.NodeStatus & drover.node.v1.NodeStatus.$Shape} NodeStatus
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                NodeStatus.decode = function (reader, length, _end, _depth, _target) {
                    if (!(reader instanceof $Reader))
                        reader = $Reader.create(reader);
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $Reader.recursionLimit)
                        throw $Error("max depth exceeded");
                    let end, message, value;
                    if (length === $undefined)
                        end = reader.len;
                    else {
                        end = reader.pos + length;
                        if (end > reader.len)
                            throw $RangeError("index out of range");
                        length = reader.len;
                        reader.len = end;
                    }
                    message = _target || new $root.drover.node.v1.NodeStatus();
                    while (reader.pos < end) {
                        let start = reader.pos;
                        let tag = reader.tag();
                        if (tag === _end) {
                            _end = $undefined;
                            break;
                        }
                        let wireType = tag & 7;
                        switch (tag >>>= 3) {
                        case 1: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.bytes()).length)
                                    message.statusJson = value;
                                else
                                    delete message.statusJson;
                                continue;
                            }
                        }
                        reader.skipType(wireType, _depth, tag);
                        if (!reader.discardUnknown) {
                            $util.makeProp(message, "$unknowns", false);
                            (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                        }
                    }
                    if (length !== $undefined) {
                        if (reader.pos !== end)
                            throw $RangeError("index out of range");
                        reader.len = length;
                    }
                    if (_end !== $undefined)
                        throw $Error("missing end group");
                    return message;
                };

                return NodeStatus;
            })();

            v1.Events = (function() {

                /**
                 * Properties of an Events.
                 * @typedef {Object} drover.node.v1.Events.$Properties
                 * @property {Array.<drover.node.v1.NodeEvent.$Properties>|null} [events] Events events
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */

                /**
                 * Properties of an Events.
                 * @memberof drover.node.v1
                 * @interface IEvents
                 * @augments drover.node.v1.Events.$Properties
                 * @deprecated Use drover.node.v1.Events.$Properties instead.
                 */

                /**
                 * Shape of an Events.
                 * @typedef {drover.node.v1.Events.$Properties} drover.node.v1.Events.$Shape
                 */

                /**
                 * Constructs a new Events.
                 * @memberof drover.node.v1
                 * @classdesc Represents an Events.
                 * @constructor
                 * @param {drover.node.v1.Events.$Properties=} [properties] Properties to set
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */
                const Events = function (properties) {
                    this.events = [];
                    if (properties)
                        for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                            if (properties[keys[i]] != null && keys[i] !== "__proto__")
                                this[keys[i]] = properties[keys[i]];
                };

                /**
                 * Events events.
                 * @member {Array.<drover.node.v1.NodeEvent.$Properties>} events
                 * @memberof drover.node.v1.Events
                 * @instance
                 */
                Events.prototype.events = $util.emptyArray;

                /**
                 * Encodes the specified Events message. Does not implicitly {@link drover.node.v1.Events.verify|verify} messages.
                 * @function encode
                 * @memberof drover.node.v1.Events
                 * @static
                 * @param {drover.node.v1.Events.$Properties} message Events message or plain object to encode
                 * @param {$protobuf.Writer} [writer] Writer to encode to
                 * @returns {$protobuf.Writer} Writer
                 */
                Events.encode = function (message, writer, _depth) {
                    if (!writer)
                        writer = $Writer.create();
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $util.recursionLimit)
                        throw $Error("max depth exceeded");
                    if (message.events != null && message.events.length)
                        for (let i = 0; i < message.events.length; ++i)
                            $root.drover.node.v1.NodeEvent.encode(message.events[i], writer.uint32(/* id 1, wireType 2 =*/10).fork(), _depth + 1).ldelim();
                    if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                        for (let i = 0; i < message.$unknowns.length; ++i)
                            writer.raw(message.$unknowns[i]);
                    return writer;
                };

                /**
                 * Decodes an Events message from the specified reader or buffer.
                 * @function decode
                 * @memberof drover.node.v1.Events
                 * @static
                 * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
                 * @param {number} [length] Message length if known beforehand
                 * @returns {drover.node.v1.Events & drover.node.v1.Events.$Shape} Events
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                Events.decode = function (reader, length, _end, _depth, _target) {
                    if (!(reader instanceof $Reader))
                        reader = $Reader.create(reader);
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $Reader.recursionLimit)
                        throw $Error("max depth exceeded");
                    let end, message;
                    if (length === $undefined)
                        end = reader.len;
                    else {
                        end = reader.pos + length;
                        if (end > reader.len)
                            throw $RangeError("index out of range");
                        length = reader.len;
                        reader.len = end;
                    }
                    message = _target || new $root.drover.node.v1.Events();
                    while (reader.pos < end) {
                        let start = reader.pos;
                        let tag = reader.tag();
                        if (tag === _end) {
                            _end = $undefined;
                            break;
                        }
                        let wireType = tag & 7;
                        switch (tag >>>= 3) {
                        case 1: {
                                if (wireType !== 2)
                                    break;
                                if (!(message.events && message.events.length))
                                    message.events = [];
                                message.events.push($root.drover.node.v1.NodeEvent.decode(reader, reader.size(), $undefined, _depth + 1));
                                continue;
                            }
                        }
                        reader.skipType(wireType, _depth, tag);
                        if (!reader.discardUnknown) {
                            $util.makeProp(message, "$unknowns", false);
                            (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                        }
                    }
                    if (length !== $undefined) {
                        if (reader.pos !== end)
                            throw $RangeError("index out of range");
                        reader.len = length;
                    }
                    if (_end !== $undefined)
                        throw $Error("missing end group");
                    return message;
                };

                return Events;
            })();

            v1.NodeEvent = (function() {

                /**
                 * Properties of a NodeEvent.
                 * @typedef {Object} drover.node.v1.NodeEvent.$Properties
                 * @property {string|null} [kind] NodeEvent kind
                 * @property {string|null} [namespace] NodeEvent namespace
                 * @property {string|null} [name] NodeEvent name
                 * @property {string|null} [uid] NodeEvent uid
                 * @property {string|null} [type] NodeEvent type
                 * @property {string|null} [reason] NodeEvent reason
                 * @property {string|null} [message] NodeEvent message
                 * @property {string|null} [fieldPath] NodeEvent fieldPath
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */

                /**
                 * Properties of a NodeEvent.
                 * @memberof drover.node.v1
                 * @interface INodeEvent
                 * @augments drover.node.v1.NodeEvent.$Properties
                 * @deprecated Use drover.node.v1.NodeEvent.$Properties instead.
                 */

                /**
                 * Shape of a NodeEvent.
                 * @typedef {drover.node.v1.NodeEvent.$Properties} drover.node.v1.NodeEvent.$Shape
                 */

                /**
                 * Constructs a new NodeEvent.
                 * @memberof drover.node.v1
                 * @classdesc Represents a NodeEvent.
                 * @constructor
                 * @param {drover.node.v1.NodeEvent.$Properties=} [properties] Properties to set
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */
                const NodeEvent = function (properties) {
                    if (properties)
                        for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                            if (properties[keys[i]] != null && keys[i] !== "__proto__")
                                this[keys[i]] = properties[keys[i]];
                };

                /**
                 * NodeEvent kind.
                 * @member {string} kind
                 * @memberof drover.node.v1.NodeEvent
                 * @instance
                 */
                NodeEvent.prototype.kind = "";

                /**
                 * NodeEvent namespace.
                 * @member {string} namespace
                 * @memberof drover.node.v1.NodeEvent
                 * @instance
                 */
                NodeEvent.prototype.namespace = "";

                /**
                 * NodeEvent name.
                 * @member {string} name
                 * @memberof drover.node.v1.NodeEvent
                 * @instance
                 */
                NodeEvent.prototype.name = "";

                /**
                 * NodeEvent uid.
                 * @member {string} uid
                 * @memberof drover.node.v1.NodeEvent
                 * @instance
                 */
                NodeEvent.prototype.uid = "";

                /**
                 * NodeEvent type.
                 * @member {string} type
                 * @memberof drover.node.v1.NodeEvent
                 * @instance
                 */
                NodeEvent.prototype.type = "";

                /**
                 * NodeEvent reason.
                 * @member {string} reason
                 * @memberof drover.node.v1.NodeEvent
                 * @instance
                 */
                NodeEvent.prototype.reason = "";

                /**
                 * NodeEvent message.
                 * @member {string} message
                 * @memberof drover.node.v1.NodeEvent
                 * @instance
                 */
                NodeEvent.prototype.message = "";

                /**
                 * NodeEvent fieldPath.
                 * @member {string} fieldPath
                 * @memberof drover.node.v1.NodeEvent
                 * @instance
                 */
                NodeEvent.prototype.fieldPath = "";

                /**
                 * Encodes the specified NodeEvent message. Does not implicitly {@link drover.node.v1.NodeEvent.verify|verify} messages.
                 * @function encode
                 * @memberof drover.node.v1.NodeEvent
                 * @static
                 * @param {drover.node.v1.NodeEvent.$Properties} message NodeEvent message or plain object to encode
                 * @param {$protobuf.Writer} [writer] Writer to encode to
                 * @returns {$protobuf.Writer} Writer
                 */
                NodeEvent.encode = function (message, writer, _depth) {
                    if (!writer)
                        writer = $Writer.create();
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $util.recursionLimit)
                        throw $Error("max depth exceeded");
                    if (message.kind != null && $Object.hasOwnProperty.call(message, "kind") && message.kind !== "")
                        writer.uint32(/* id 1, wireType 2 =*/10).string(message.kind);
                    if (message.namespace != null && $Object.hasOwnProperty.call(message, "namespace") && message.namespace !== "")
                        writer.uint32(/* id 2, wireType 2 =*/18).string(message.namespace);
                    if (message.name != null && $Object.hasOwnProperty.call(message, "name") && message.name !== "")
                        writer.uint32(/* id 3, wireType 2 =*/26).string(message.name);
                    if (message.uid != null && $Object.hasOwnProperty.call(message, "uid") && message.uid !== "")
                        writer.uint32(/* id 4, wireType 2 =*/34).string(message.uid);
                    if (message.type != null && $Object.hasOwnProperty.call(message, "type") && message.type !== "")
                        writer.uint32(/* id 5, wireType 2 =*/42).string(message.type);
                    if (message.reason != null && $Object.hasOwnProperty.call(message, "reason") && message.reason !== "")
                        writer.uint32(/* id 6, wireType 2 =*/50).string(message.reason);
                    if (message.message != null && $Object.hasOwnProperty.call(message, "message") && message.message !== "")
                        writer.uint32(/* id 7, wireType 2 =*/58).string(message.message);
                    if (message.fieldPath != null && $Object.hasOwnProperty.call(message, "fieldPath") && message.fieldPath !== "")
                        writer.uint32(/* id 8, wireType 2 =*/66).string(message.fieldPath);
                    if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                        for (let i = 0; i < message.$unknowns.length; ++i)
                            writer.raw(message.$unknowns[i]);
                    return writer;
                };

                /**
                 * Decodes a NodeEvent message from the specified reader or buffer.
                 * @function decode
                 * @memberof drover.node.v1.NodeEvent
                 * @static
                 * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
                 * @param {number} [length] Message length if known beforehand
                 * @returns {drover.node.v1.NodeEvent & drover.node.v1.NodeEvent.$Shape} NodeEvent
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                NodeEvent.decode = function (reader, length, _end, _depth, _target) {
                    if (!(reader instanceof $Reader))
                        reader = $Reader.create(reader);
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $Reader.recursionLimit)
                        throw $Error("max depth exceeded");
                    let end, message, value;
                    if (length === $undefined)
                        end = reader.len;
                    else {
                        end = reader.pos + length;
                        if (end > reader.len)
                            throw $RangeError("index out of range");
                        length = reader.len;
                        reader.len = end;
                    }
                    message = _target || new $root.drover.node.v1.NodeEvent();
                    while (reader.pos < end) {
                        let start = reader.pos;
                        let tag = reader.tag();
                        if (tag === _end) {
                            _end = $undefined;
                            break;
                        }
                        let wireType = tag & 7;
                        switch (tag >>>= 3) {
                        case 1: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.kind = value;
                                else
                                    delete message.kind;
                                continue;
                            }
                        case 2: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.namespace = value;
                                else
                                    delete message.namespace;
                                continue;
                            }
                        case 3: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.name = value;
                                else
                                    delete message.name;
                                continue;
                            }
                        case 4: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.uid = value;
                                else
                                    delete message.uid;
                                continue;
                            }
                        case 5: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.type = value;
                                else
                                    delete message.type;
                                continue;
                            }
                        case 6: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.reason = value;
                                else
                                    delete message.reason;
                                continue;
                            }
                        case 7: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.message = value;
                                else
                                    delete message.message;
                                continue;
                            }
                        case 8: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.fieldPath = value;
                                else
                                    delete message.fieldPath;
                                continue;
                            }
                        }
                        reader.skipType(wireType, _depth, tag);
                        if (!reader.discardUnknown) {
                            $util.makeProp(message, "$unknowns", false);
                            (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                        }
                    }
                    if (length !== $undefined) {
                        if (reader.pos !== end)
                            throw $RangeError("index out of range");
                        reader.len = length;
                    }
                    if (_end !== $undefined)
                        throw $Error("missing end group");
                    return message;
                };

                return NodeEvent;
            })();

            v1.Resync = (function() {

                /**
                 * Properties of a Resync.
                 * @typedef {Object} drover.node.v1.Resync.$Properties
                 * @property {drover.node.v1.Table|null} [table] Resync table
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */

                /**
                 * Properties of a Resync.
                 * @memberof drover.node.v1
                 * @interface IResync
                 * @augments drover.node.v1.Resync.$Properties
                 * @deprecated Use drover.node.v1.Resync.$Properties instead.
                 */

                /**
                 * Shape of a Resync.
                 * @typedef {drover.node.v1.Resync.$Properties} drover.node.v1.Resync.$Shape
                 */

                /**
                 * Constructs a new Resync.
                 * @memberof drover.node.v1
                 * @classdesc Represents a Resync.
                 * @constructor
                 * @param {drover.node.v1.Resync.$Properties=} [properties] Properties to set
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */
                const Resync = function (properties) {
                    if (properties)
                        for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                            if (properties[keys[i]] != null && keys[i] !== "__proto__")
                                this[keys[i]] = properties[keys[i]];
                };

                /**
                 * Resync table.
                 * @member {drover.node.v1.Table} table
                 * @memberof drover.node.v1.Resync
                 * @instance
                 */
                Resync.prototype.table = 0;

                /**
                 * Encodes the specified Resync message. Does not implicitly {@link drover.node.v1.Resync.verify|verify} messages.
                 * @function encode
                 * @memberof drover.node.v1.Resync
                 * @static
                 * @param {drover.node.v1.Resync.$Properties} message Resync message or plain object to encode
                 * @param {$protobuf.Writer} [writer] Writer to encode to
                 * @returns {$protobuf.Writer} Writer
                 */
                Resync.encode = function (message, writer, _depth) {
                    if (!writer)
                        writer = $Writer.create();
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $util.recursionLimit)
                        throw $Error("max depth exceeded");
                    if (message.table != null && $Object.hasOwnProperty.call(message, "table") && message.table !== 0)
                        writer.uint32(/* id 1, wireType 0 =*/8).int32(message.table);
                    if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                        for (let i = 0; i < message.$unknowns.length; ++i)
                            writer.raw(message.$unknowns[i]);
                    return writer;
                };

                /**
                 * Decodes a Resync message from the specified reader or buffer.
                 * @function decode
                 * @memberof drover.node.v1.Resync
                 * @static
                 * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
                 * @param {number} [length] Message length if known beforehand
                 * @returns {drover.node.v1.Resync & drover.node.v1.Resync.$Shape} Resync
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                Resync.decode = function (reader, length, _end, _depth, _target) {
                    if (!(reader instanceof $Reader))
                        reader = $Reader.create(reader);
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $Reader.recursionLimit)
                        throw $Error("max depth exceeded");
                    let end, message, value;
                    if (length === $undefined)
                        end = reader.len;
                    else {
                        end = reader.pos + length;
                        if (end > reader.len)
                            throw $RangeError("index out of range");
                        length = reader.len;
                        reader.len = end;
                    }
                    message = _target || new $root.drover.node.v1.Resync();
                    while (reader.pos < end) {
                        let start = reader.pos;
                        let tag = reader.tag();
                        if (tag === _end) {
                            _end = $undefined;
                            break;
                        }
                        let wireType = tag & 7;
                        switch (tag >>>= 3) {
                        case 1: {
                                if (wireType !== 0)
                                    break;
                                if (value = reader.int32())
                                    message.table = value;
                                else
                                    delete message.table;
                                continue;
                            }
                        }
                        reader.skipType(wireType, _depth, tag);
                        if (!reader.discardUnknown) {
                            $util.makeProp(message, "$unknowns", false);
                            (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                        }
                    }
                    if (length !== $undefined) {
                        if (reader.pos !== end)
                            throw $RangeError("index out of range");
                        reader.len = length;
                    }
                    if (_end !== $undefined)
                        throw $Error("missing end group");
                    return message;
                };

                return Resync;
            })();

            v1.TokenRequest = (function() {

                /**
                 * Properties of a TokenRequest.
                 * @typedef {Object} drover.node.v1.TokenRequest.$Properties
                 * @property {number|null} [requestId] TokenRequest requestId
                 * @property {string|null} [namespace] TokenRequest namespace
                 * @property {string|null} [podName] TokenRequest podName
                 * @property {string|null} [podUid] TokenRequest podUid
                 * @property {string|null} [serviceAccount] TokenRequest serviceAccount
                 * @property {Array.<string>|null} [audiences] TokenRequest audiences
                 * @property {number|null} [expirationSeconds] TokenRequest expirationSeconds
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */

                /**
                 * Properties of a TokenRequest.
                 * @memberof drover.node.v1
                 * @interface ITokenRequest
                 * @augments drover.node.v1.TokenRequest.$Properties
                 * @deprecated Use drover.node.v1.TokenRequest.$Properties instead.
                 */

                /**
                 * Shape of a TokenRequest.
                 * @typedef {drover.node.v1.TokenRequest.$Properties} drover.node.v1.TokenRequest.$Shape
                 */

                /**
                 * Constructs a new TokenRequest.
                 * @memberof drover.node.v1
                 * @classdesc Represents a TokenRequest.
                 * @constructor
                 * @param {drover.node.v1.TokenRequest.$Properties=} [properties] Properties to set
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */
                const TokenRequest = function (properties) {
                    this.audiences = [];
                    if (properties)
                        for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                            if (properties[keys[i]] != null && keys[i] !== "__proto__")
                                this[keys[i]] = properties[keys[i]];
                };

                /**
                 * TokenRequest requestId.
                 * @member {number} requestId
                 * @memberof drover.node.v1.TokenRequest
                 * @instance
                 */
                TokenRequest.prototype.requestId = $util.Long ? $util.Long.fromBits(0,0,true) : 0;

                /**
                 * TokenRequest namespace.
                 * @member {string} namespace
                 * @memberof drover.node.v1.TokenRequest
                 * @instance
                 */
                TokenRequest.prototype.namespace = "";

                /**
                 * TokenRequest podName.
                 * @member {string} podName
                 * @memberof drover.node.v1.TokenRequest
                 * @instance
                 */
                TokenRequest.prototype.podName = "";

                /**
                 * TokenRequest podUid.
                 * @member {string} podUid
                 * @memberof drover.node.v1.TokenRequest
                 * @instance
                 */
                TokenRequest.prototype.podUid = "";

                /**
                 * TokenRequest serviceAccount.
                 * @member {string} serviceAccount
                 * @memberof drover.node.v1.TokenRequest
                 * @instance
                 */
                TokenRequest.prototype.serviceAccount = "";

                /**
                 * TokenRequest audiences.
                 * @member {Array.<string>} audiences
                 * @memberof drover.node.v1.TokenRequest
                 * @instance
                 */
                TokenRequest.prototype.audiences = $util.emptyArray;

                /**
                 * TokenRequest expirationSeconds.
                 * @member {number} expirationSeconds
                 * @memberof drover.node.v1.TokenRequest
                 * @instance
                 */
                TokenRequest.prototype.expirationSeconds = $util.Long ? $util.Long.fromBits(0,0,true) : 0;

                /**
                 * Encodes the specified TokenRequest message. Does not implicitly {@link drover.node.v1.TokenRequest.verify|verify} messages.
                 * @function encode
                 * @memberof drover.node.v1.TokenRequest
                 * @static
                 * @param {drover.node.v1.TokenRequest.$Properties} message TokenRequest message or plain object to encode
                 * @param {$protobuf.Writer} [writer] Writer to encode to
                 * @returns {$protobuf.Writer} Writer
                 */
                TokenRequest.encode = function (message, writer, _depth) {
                    if (!writer)
                        writer = $Writer.create();
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $util.recursionLimit)
                        throw $Error("max depth exceeded");
                    if (message.requestId != null && $Object.hasOwnProperty.call(message, "requestId") && (typeof message.requestId === "object" ? message.requestId.low || message.requestId.high : message.requestId !== 0))
                        writer.uint32(/* id 1, wireType 0 =*/8).uint64(message.requestId);
                    if (message.namespace != null && $Object.hasOwnProperty.call(message, "namespace") && message.namespace !== "")
                        writer.uint32(/* id 2, wireType 2 =*/18).string(message.namespace);
                    if (message.podName != null && $Object.hasOwnProperty.call(message, "podName") && message.podName !== "")
                        writer.uint32(/* id 3, wireType 2 =*/26).string(message.podName);
                    if (message.podUid != null && $Object.hasOwnProperty.call(message, "podUid") && message.podUid !== "")
                        writer.uint32(/* id 4, wireType 2 =*/34).string(message.podUid);
                    if (message.serviceAccount != null && $Object.hasOwnProperty.call(message, "serviceAccount") && message.serviceAccount !== "")
                        writer.uint32(/* id 5, wireType 2 =*/42).string(message.serviceAccount);
                    if (message.audiences != null && message.audiences.length)
                        for (let i = 0; i < message.audiences.length; ++i)
                            writer.uint32(/* id 6, wireType 2 =*/50).string(message.audiences[i]);
                    if (message.expirationSeconds != null && $Object.hasOwnProperty.call(message, "expirationSeconds") && (typeof message.expirationSeconds === "object" ? message.expirationSeconds.low || message.expirationSeconds.high : message.expirationSeconds !== 0))
                        writer.uint32(/* id 7, wireType 0 =*/56).uint64(message.expirationSeconds);
                    if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                        for (let i = 0; i < message.$unknowns.length; ++i)
                            writer.raw(message.$unknowns[i]);
                    return writer;
                };

                /**
                 * Decodes a TokenRequest message from the specified reader or buffer.
                 * @function decode
                 * @memberof drover.node.v1.TokenRequest
                 * @static
                 * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
                 * @param {number} [length] Message length if known beforehand
                 * @returns {drover.node.v1.TokenRequest & drover.node.v1.TokenRequest.$Shape} TokenRequest
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                TokenRequest.decode = function (reader, length, _end, _depth, _target) {
                    if (!(reader instanceof $Reader))
                        reader = $Reader.create(reader);
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $Reader.recursionLimit)
                        throw $Error("max depth exceeded");
                    let end, message, value;
                    if (length === $undefined)
                        end = reader.len;
                    else {
                        end = reader.pos + length;
                        if (end > reader.len)
                            throw $RangeError("index out of range");
                        length = reader.len;
                        reader.len = end;
                    }
                    message = _target || new $root.drover.node.v1.TokenRequest();
                    while (reader.pos < end) {
                        let start = reader.pos;
                        let tag = reader.tag();
                        if (tag === _end) {
                            _end = $undefined;
                            break;
                        }
                        let wireType = tag & 7;
                        switch (tag >>>= 3) {
                        case 1: {
                                if (wireType !== 0)
                                    break;
                                if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                                    message.requestId = value;
                                else
                                    delete message.requestId;
                                continue;
                            }
                        case 2: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.namespace = value;
                                else
                                    delete message.namespace;
                                continue;
                            }
                        case 3: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.podName = value;
                                else
                                    delete message.podName;
                                continue;
                            }
                        case 4: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.podUid = value;
                                else
                                    delete message.podUid;
                                continue;
                            }
                        case 5: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.serviceAccount = value;
                                else
                                    delete message.serviceAccount;
                                continue;
                            }
                        case 6: {
                                if (wireType !== 2)
                                    break;
                                if (!(message.audiences && message.audiences.length))
                                    message.audiences = [];
                                message.audiences.push(reader.stringVerify());
                                continue;
                            }
                        case 7: {
                                if (wireType !== 0)
                                    break;
                                if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                                    message.expirationSeconds = value;
                                else
                                    delete message.expirationSeconds;
                                continue;
                            }
                        }
                        reader.skipType(wireType, _depth, tag);
                        if (!reader.discardUnknown) {
                            $util.makeProp(message, "$unknowns", false);
                            (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                        }
                    }
                    if (length !== $undefined) {
                        if (reader.pos !== end)
                            throw $RangeError("index out of range");
                        reader.len = length;
                    }
                    if (_end !== $undefined)
                        throw $Error("missing end group");
                    return message;
                };

                return TokenRequest;
            })();

            /**
             * Table enum.
             * @name drover.node.v1.Table
             * @enum {number}
             * @property {number} TABLE_UNSPECIFIED=0 TABLE_UNSPECIFIED value
             * @property {number} TABLE_ASSIGNMENTS=1 TABLE_ASSIGNMENTS value
             * @property {number} TABLE_SERVICES=2 TABLE_SERVICES value
             * @property {number} TABLE_PEERS=3 TABLE_PEERS value
             * @property {number} TABLE_POLICIES=4 TABLE_POLICIES value
             */
            v1.Table = (function() {
                const valuesById = $Object.create(null), values = $Object.create(valuesById);
                values[valuesById[0] = "TABLE_UNSPECIFIED"] = 0;
                values[valuesById[1] = "TABLE_ASSIGNMENTS"] = 1;
                values[valuesById[2] = "TABLE_SERVICES"] = 2;
                values[valuesById[3] = "TABLE_PEERS"] = 3;
                values[valuesById[4] = "TABLE_POLICIES"] = 4;
                return values;
            })();

            v1.ServerMessage = (function() {

                /**
                 * Properties of a ServerMessage.
                 * @typedef {Object} drover.node.v1.ServerMessage.$Properties
                 * @property {drover.node.v1.Welcome.$Properties|null} [welcome] ServerMessage welcome
                 * @property {drover.node.v1.Changes.$Properties|null} [changes] ServerMessage changes
                 * @property {drover.node.v1.OpenStream.$Properties|null} [openStream] ServerMessage openStream
                 * @property {drover.node.v1.HeartbeatAck.$Properties|null} [heartbeatAck] ServerMessage heartbeatAck
                 * @property {drover.node.v1.TokenAnswer.$Properties|null} [tokenAnswer] ServerMessage tokenAnswer
                 * @property {"welcome"|"changes"|"openStream"|"heartbeatAck"|"tokenAnswer"} [message] ServerMessage message
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */

                /**
                 * Properties of a ServerMessage.
                 * @memberof drover.node.v1
                 * @interface IServerMessage
                 * @augments drover.node.v1.ServerMessage.$Properties
                 * @deprecated Use drover.node.v1.ServerMessage.$Properties instead.
                 */

                /**
                 * Narrowed shape of a ServerMessage.
                 * @typedef {{
                 *   welcome?: drover.node.v1.Welcome.$Shape|null;
                 *   changes?: drover.node.v1.Changes.$Shape|null;
                 *   openStream?: drover.node.v1.OpenStream.$Shape|null;
                 *   heartbeatAck?: drover.node.v1.HeartbeatAck.$Shape|null;
                 *   tokenAnswer?: drover.node.v1.TokenAnswer.$Shape|null;
                 *   $unknowns?: Array.<Uint8Array>;
                 * } & (
                 *   ({ message?: undefined; welcome?: null; changes?: null; openStream?: null; heartbeatAck?: null; tokenAnswer?: null }|{ message?: "welcome"; welcome: drover.node.v1.Welcome.$Shape; changes?: null; openStream?: null; heartbeatAck?: null; tokenAnswer?: null }|{ message?: "changes"; welcome?: null; changes: drover.node.v1.Changes.$Shape; openStream?: null; heartbeatAck?: null; tokenAnswer?: null }|{ message?: "openStream"; welcome?: null; changes?: null; openStream: drover.node.v1.OpenStream.$Shape; heartbeatAck?: null; tokenAnswer?: null }|{ message?: "heartbeatAck"; welcome?: null; changes?: null; openStream?: null; heartbeatAck: drover.node.v1.HeartbeatAck.$Shape; tokenAnswer?: null }|{ message?: "tokenAnswer"; welcome?: null; changes?: null; openStream?: null; heartbeatAck?: null; tokenAnswer: drover.node.v1.TokenAnswer.$Shape })
                 * )} drover.node.v1.ServerMessage.$Shape
                 */

                /**
                 * Constructs a new ServerMessage.
                 * @memberof drover.node.v1
                 * @classdesc Represents a ServerMessage.
                 * @constructor
                 * @param {drover.node.v1.ServerMessage.$Properties=} [properties] Properties to set
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */
                const ServerMessage = function (properties) {
                    if (properties)
                        for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                            if (properties[keys[i]] != null && keys[i] !== "__proto__")
                                this[keys[i]] = properties[keys[i]];
                };

                /**
                 * ServerMessage welcome.
                 * @member {drover.node.v1.Welcome.$Properties|null|undefined} welcome
                 * @memberof drover.node.v1.ServerMessage
                 * @instance
                 */
                ServerMessage.prototype.welcome = null;

                /**
                 * ServerMessage changes.
                 * @member {drover.node.v1.Changes.$Properties|null|undefined} changes
                 * @memberof drover.node.v1.ServerMessage
                 * @instance
                 */
                ServerMessage.prototype.changes = null;

                /**
                 * ServerMessage openStream.
                 * @member {drover.node.v1.OpenStream.$Properties|null|undefined} openStream
                 * @memberof drover.node.v1.ServerMessage
                 * @instance
                 */
                ServerMessage.prototype.openStream = null;

                /**
                 * ServerMessage heartbeatAck.
                 * @member {drover.node.v1.HeartbeatAck.$Properties|null|undefined} heartbeatAck
                 * @memberof drover.node.v1.ServerMessage
                 * @instance
                 */
                ServerMessage.prototype.heartbeatAck = null;

                /**
                 * ServerMessage tokenAnswer.
                 * @member {drover.node.v1.TokenAnswer.$Properties|null|undefined} tokenAnswer
                 * @memberof drover.node.v1.ServerMessage
                 * @instance
                 */
                ServerMessage.prototype.tokenAnswer = null;

                // OneOf field names bound to virtual getters and setters
                let $oneOfFields;

                /**
                 * ServerMessage message.
                 * @member {"welcome"|"changes"|"openStream"|"heartbeatAck"|"tokenAnswer"|undefined} message
                 * @memberof drover.node.v1.ServerMessage
                 * @instance
                 */
                $Object.defineProperty(ServerMessage.prototype, "message", {
                    get: $util.oneOfGetter($oneOfFields = ["welcome", "changes", "openStream", "heartbeatAck", "tokenAnswer"]),
                    set: $util.oneOfSetter($oneOfFields)
                });

                /**
                 * Encodes the specified ServerMessage message. Does not implicitly {@link drover.node.v1.ServerMessage.verify|verify} messages.
                 * @function encode
                 * @memberof drover.node.v1.ServerMessage
                 * @static
                 * @param {drover.node.v1.ServerMessage.$Properties} message ServerMessage message or plain object to encode
                 * @param {$protobuf.Writer} [writer] Writer to encode to
                 * @returns {$protobuf.Writer} Writer
                 */
                ServerMessage.encode = function (message, writer, _depth) {
                    if (!writer)
                        writer = $Writer.create();
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $util.recursionLimit)
                        throw $Error("max depth exceeded");
                    if (message.welcome != null && $Object.hasOwnProperty.call(message, "welcome"))
                        $root.drover.node.v1.Welcome.encode(message.welcome, writer.uint32(/* id 1, wireType 2 =*/10).fork(), _depth + 1).ldelim();
                    if (message.changes != null && $Object.hasOwnProperty.call(message, "changes"))
                        $root.drover.node.v1.Changes.encode(message.changes, writer.uint32(/* id 2, wireType 2 =*/18).fork(), _depth + 1).ldelim();
                    if (message.openStream != null && $Object.hasOwnProperty.call(message, "openStream"))
                        $root.drover.node.v1.OpenStream.encode(message.openStream, writer.uint32(/* id 3, wireType 2 =*/26).fork(), _depth + 1).ldelim();
                    if (message.heartbeatAck != null && $Object.hasOwnProperty.call(message, "heartbeatAck"))
                        $root.drover.node.v1.HeartbeatAck.encode(message.heartbeatAck, writer.uint32(/* id 4, wireType 2 =*/34).fork(), _depth + 1).ldelim();
                    if (message.tokenAnswer != null && $Object.hasOwnProperty.call(message, "tokenAnswer"))
                        $root.drover.node.v1.TokenAnswer.encode(message.tokenAnswer, writer.uint32(/* id 5, wireType 2 =*/42).fork(), _depth + 1).ldelim();
                    if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                        for (let i = 0; i < message.$unknowns.length; ++i)
                            writer.raw(message.$unknowns[i]);
                    return writer;
                };

                /**
                 * Decodes a ServerMessage message from the specified reader or buffer.
                 * @function decode
                 * @memberof drover.node.v1.ServerMessage
                 * @static
                 * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
                 * @param {number} [length] Message length if known beforehand
                 * @returns {drover.node.v1.ServerMessage & drover.node.v1.ServerMessage.$Shape} ServerMessage
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                ServerMessage.decode = function (reader, length, _end, _depth, _target) {
                    if (!(reader instanceof $Reader))
                        reader = $Reader.create(reader);
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $Reader.recursionLimit)
                        throw $Error("max depth exceeded");
                    let end, message;
                    if (length === $undefined)
                        end = reader.len;
                    else {
                        end = reader.pos + length;
                        if (end > reader.len)
                            throw $RangeError("index out of range");
                        length = reader.len;
                        reader.len = end;
                    }
                    message = _target || new $root.drover.node.v1.ServerMessage();
                    while (reader.pos < end) {
                        let start = reader.pos;
                        let tag = reader.tag();
                        if (tag === _end) {
                            _end = $undefined;
                            break;
                        }
                        let wireType = tag & 7;
                        switch (tag >>>= 3) {
                        case 1: {
                                if (wireType !== 2)
                                    break;
                                message.welcome = $root.drover.node.v1.Welcome.decode(reader, reader.size(), $undefined, _depth + 1, message.welcome);
                                message.message = "welcome";
                                continue;
                            }
                        case 2: {
                                if (wireType !== 2)
                                    break;
                                message.changes = $root.drover.node.v1.Changes.decode(reader, reader.size(), $undefined, _depth + 1, message.changes);
                                message.message = "changes";
                                continue;
                            }
                        case 3: {
                                if (wireType !== 2)
                                    break;
                                message.openStream = $root.drover.node.v1.OpenStream.decode(reader, reader.size(), $undefined, _depth + 1, message.openStream);
                                message.message = "openStream";
                                continue;
                            }
                        case 4: {
                                if (wireType !== 2)
                                    break;
                                message.heartbeatAck = $root.drover.node.v1.HeartbeatAck.decode(reader, reader.size(), $undefined, _depth + 1, message.heartbeatAck);
                                message.message = "heartbeatAck";
                                continue;
                            }
                        case 5: {
                                if (wireType !== 2)
                                    break;
                                message.tokenAnswer = $root.drover.node.v1.TokenAnswer.decode(reader, reader.size(), $undefined, _depth + 1, message.tokenAnswer);
                                message.message = "tokenAnswer";
                                continue;
                            }
                        }
                        reader.skipType(wireType, _depth, tag);
                        if (!reader.discardUnknown) {
                            $util.makeProp(message, "$unknowns", false);
                            (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                        }
                    }
                    if (length !== $undefined) {
                        if (reader.pos !== end)
                            throw $RangeError("index out of range");
                        reader.len = length;
                    }
                    if (_end !== $undefined)
                        throw $Error("missing end group");
                    return message;
                };

                return ServerMessage;
            })();

            v1.TokenAnswer = (function() {

                /**
                 * Properties of a TokenAnswer.
                 * @typedef {Object} drover.node.v1.TokenAnswer.$Properties
                 * @property {number|null} [requestId] TokenAnswer requestId
                 * @property {string|null} [token] TokenAnswer token
                 * @property {string|null} [errorCode] TokenAnswer errorCode
                 * @property {string|null} [errorMessage] TokenAnswer errorMessage
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */

                /**
                 * Properties of a TokenAnswer.
                 * @memberof drover.node.v1
                 * @interface ITokenAnswer
                 * @augments drover.node.v1.TokenAnswer.$Properties
                 * @deprecated Use drover.node.v1.TokenAnswer.$Properties instead.
                 */

                /**
                 * Shape of a TokenAnswer.
                 * @typedef {drover.node.v1.TokenAnswer.$Properties} drover.node.v1.TokenAnswer.$Shape
                 */

                /**
                 * Constructs a new TokenAnswer.
                 * @memberof drover.node.v1
                 * @classdesc Represents a TokenAnswer.
                 * @constructor
                 * @param {drover.node.v1.TokenAnswer.$Properties=} [properties] Properties to set
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */
                const TokenAnswer = function (properties) {
                    if (properties)
                        for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                            if (properties[keys[i]] != null && keys[i] !== "__proto__")
                                this[keys[i]] = properties[keys[i]];
                };

                /**
                 * TokenAnswer requestId.
                 * @member {number} requestId
                 * @memberof drover.node.v1.TokenAnswer
                 * @instance
                 */
                TokenAnswer.prototype.requestId = $util.Long ? $util.Long.fromBits(0,0,true) : 0;

                /**
                 * TokenAnswer token.
                 * @member {string} token
                 * @memberof drover.node.v1.TokenAnswer
                 * @instance
                 */
                TokenAnswer.prototype.token = "";

                /**
                 * TokenAnswer errorCode.
                 * @member {string} errorCode
                 * @memberof drover.node.v1.TokenAnswer
                 * @instance
                 */
                TokenAnswer.prototype.errorCode = "";

                /**
                 * TokenAnswer errorMessage.
                 * @member {string} errorMessage
                 * @memberof drover.node.v1.TokenAnswer
                 * @instance
                 */
                TokenAnswer.prototype.errorMessage = "";

                /**
                 * Encodes the specified TokenAnswer message. Does not implicitly {@link drover.node.v1.TokenAnswer.verify|verify} messages.
                 * @function encode
                 * @memberof drover.node.v1.TokenAnswer
                 * @static
                 * @param {drover.node.v1.TokenAnswer.$Properties} message TokenAnswer message or plain object to encode
                 * @param {$protobuf.Writer} [writer] Writer to encode to
                 * @returns {$protobuf.Writer} Writer
                 */
                TokenAnswer.encode = function (message, writer, _depth) {
                    if (!writer)
                        writer = $Writer.create();
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $util.recursionLimit)
                        throw $Error("max depth exceeded");
                    if (message.requestId != null && $Object.hasOwnProperty.call(message, "requestId") && (typeof message.requestId === "object" ? message.requestId.low || message.requestId.high : message.requestId !== 0))
                        writer.uint32(/* id 1, wireType 0 =*/8).uint64(message.requestId);
                    if (message.token != null && $Object.hasOwnProperty.call(message, "token") && message.token !== "")
                        writer.uint32(/* id 2, wireType 2 =*/18).string(message.token);
                    if (message.errorCode != null && $Object.hasOwnProperty.call(message, "errorCode") && message.errorCode !== "")
                        writer.uint32(/* id 3, wireType 2 =*/26).string(message.errorCode);
                    if (message.errorMessage != null && $Object.hasOwnProperty.call(message, "errorMessage") && message.errorMessage !== "")
                        writer.uint32(/* id 4, wireType 2 =*/34).string(message.errorMessage);
                    if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                        for (let i = 0; i < message.$unknowns.length; ++i)
                            writer.raw(message.$unknowns[i]);
                    return writer;
                };

                /**
                 * Decodes a TokenAnswer message from the specified reader or buffer.
                 * @function decode
                 * @memberof drover.node.v1.TokenAnswer
                 * @static
                 * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
                 * @param {number} [length] Message length if known beforehand
                 * @returns {drover.node.v1.TokenAnswer & drover.node.v1.TokenAnswer.$Shape} TokenAnswer
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                TokenAnswer.decode = function (reader, length, _end, _depth, _target) {
                    if (!(reader instanceof $Reader))
                        reader = $Reader.create(reader);
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $Reader.recursionLimit)
                        throw $Error("max depth exceeded");
                    let end, message, value;
                    if (length === $undefined)
                        end = reader.len;
                    else {
                        end = reader.pos + length;
                        if (end > reader.len)
                            throw $RangeError("index out of range");
                        length = reader.len;
                        reader.len = end;
                    }
                    message = _target || new $root.drover.node.v1.TokenAnswer();
                    while (reader.pos < end) {
                        let start = reader.pos;
                        let tag = reader.tag();
                        if (tag === _end) {
                            _end = $undefined;
                            break;
                        }
                        let wireType = tag & 7;
                        switch (tag >>>= 3) {
                        case 1: {
                                if (wireType !== 0)
                                    break;
                                if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                                    message.requestId = value;
                                else
                                    delete message.requestId;
                                continue;
                            }
                        case 2: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.token = value;
                                else
                                    delete message.token;
                                continue;
                            }
                        case 3: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.errorCode = value;
                                else
                                    delete message.errorCode;
                                continue;
                            }
                        case 4: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.errorMessage = value;
                                else
                                    delete message.errorMessage;
                                continue;
                            }
                        }
                        reader.skipType(wireType, _depth, tag);
                        if (!reader.discardUnknown) {
                            $util.makeProp(message, "$unknowns", false);
                            (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                        }
                    }
                    if (length !== $undefined) {
                        if (reader.pos !== end)
                            throw $RangeError("index out of range");
                        reader.len = length;
                    }
                    if (_end !== $undefined)
                        throw $Error("missing end group");
                    return message;
                };

                return TokenAnswer;
            })();

            v1.Welcome = (function() {

                /**
                 * Properties of a Welcome.
                 * @typedef {Object} drover.node.v1.Welcome.$Properties
                 * @property {number|null} [heartbeatIntervalMs] Welcome heartbeatIntervalMs
                 * @property {Uint8Array|null} [clusterConfigJson] Welcome clusterConfigJson
                 * @property {string|null} [serverId] Welcome serverId
                 * @property {number|null} [exclusiveLeaseMs] Welcome exclusiveLeaseMs
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */

                /**
                 * Properties of a Welcome.
                 * @memberof drover.node.v1
                 * @interface IWelcome
                 * @augments drover.node.v1.Welcome.$Properties
                 * @deprecated Use drover.node.v1.Welcome.$Properties instead.
                 */

                /**
                 * Shape of a Welcome.
                 * @typedef {drover.node.v1.Welcome.$Properties} drover.node.v1.Welcome.$Shape
                 */

                /**
                 * Constructs a new Welcome.
                 * @memberof drover.node.v1
                 * @classdesc Represents a Welcome.
                 * @constructor
                 * @param {drover.node.v1.Welcome.$Properties=} [properties] Properties to set
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */
                const Welcome = function (properties) {
                    if (properties)
                        for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                            if (properties[keys[i]] != null && keys[i] !== "__proto__")
                                this[keys[i]] = properties[keys[i]];
                };

                /**
                 * Welcome heartbeatIntervalMs.
                 * @member {number} heartbeatIntervalMs
                 * @memberof drover.node.v1.Welcome
                 * @instance
                 */
                Welcome.prototype.heartbeatIntervalMs = 0;

                /**
                 * Welcome clusterConfigJson.
                 * @member {Uint8Array} clusterConfigJson
                 * @memberof drover.node.v1.Welcome
                 * @instance
                 */
                Welcome.prototype.clusterConfigJson = $util.newBuffer([]);

                /**
                 * Welcome serverId.
                 * @member {string} serverId
                 * @memberof drover.node.v1.Welcome
                 * @instance
                 */
                Welcome.prototype.serverId = "";

                /**
                 * Welcome exclusiveLeaseMs.
                 * @member {number} exclusiveLeaseMs
                 * @memberof drover.node.v1.Welcome
                 * @instance
                 */
                Welcome.prototype.exclusiveLeaseMs = 0;

                /**
                 * Encodes the specified Welcome message. Does not implicitly {@link drover.node.v1.Welcome.verify|verify} messages.
                 * @function encode
                 * @memberof drover.node.v1.Welcome
                 * @static
                 * @param {drover.node.v1.Welcome.$Properties} message Welcome message or plain object to encode
                 * @param {$protobuf.Writer} [writer] Writer to encode to
                 * @returns {$protobuf.Writer} Writer
                 */
                Welcome.encode = function (message, writer, _depth) {
                    if (!writer)
                        writer = $Writer.create();
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $util.recursionLimit)
                        throw $Error("max depth exceeded");
                    if (message.heartbeatIntervalMs != null && $Object.hasOwnProperty.call(message, "heartbeatIntervalMs") && message.heartbeatIntervalMs !== 0)
                        writer.uint32(/* id 1, wireType 0 =*/8).uint32(message.heartbeatIntervalMs);
                    if (message.clusterConfigJson != null && $Object.hasOwnProperty.call(message, "clusterConfigJson") && message.clusterConfigJson.length)
                        writer.uint32(/* id 2, wireType 2 =*/18).bytes(message.clusterConfigJson);
                    if (message.serverId != null && $Object.hasOwnProperty.call(message, "serverId") && message.serverId !== "")
                        writer.uint32(/* id 3, wireType 2 =*/26).string(message.serverId);
                    if (message.exclusiveLeaseMs != null && $Object.hasOwnProperty.call(message, "exclusiveLeaseMs") && message.exclusiveLeaseMs !== 0)
                        writer.uint32(/* id 4, wireType 0 =*/32).uint32(message.exclusiveLeaseMs);
                    if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                        for (let i = 0; i < message.$unknowns.length; ++i)
                            writer.raw(message.$unknowns[i]);
                    return writer;
                };

                /**
                 * Decodes a Welcome message from the specified reader or buffer.
                 * @function decode
                 * @memberof drover.node.v1.Welcome
                 * @static
                 * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
                 * @param {number} [length] Message length if known beforehand
                 * @returns {drover.node.v1.Welcome & drover.node.v1.Welcome.$Shape} Welcome
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                Welcome.decode = function (reader, length, _end, _depth, _target) {
                    if (!(reader instanceof $Reader))
                        reader = $Reader.create(reader);
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $Reader.recursionLimit)
                        throw $Error("max depth exceeded");
                    let end, message, value;
                    if (length === $undefined)
                        end = reader.len;
                    else {
                        end = reader.pos + length;
                        if (end > reader.len)
                            throw $RangeError("index out of range");
                        length = reader.len;
                        reader.len = end;
                    }
                    message = _target || new $root.drover.node.v1.Welcome();
                    while (reader.pos < end) {
                        let start = reader.pos;
                        let tag = reader.tag();
                        if (tag === _end) {
                            _end = $undefined;
                            break;
                        }
                        let wireType = tag & 7;
                        switch (tag >>>= 3) {
                        case 1: {
                                if (wireType !== 0)
                                    break;
                                if (value = reader.uint32())
                                    message.heartbeatIntervalMs = value;
                                else
                                    delete message.heartbeatIntervalMs;
                                continue;
                            }
                        case 2: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.bytes()).length)
                                    message.clusterConfigJson = value;
                                else
                                    delete message.clusterConfigJson;
                                continue;
                            }
                        case 3: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.serverId = value;
                                else
                                    delete message.serverId;
                                continue;
                            }
                        case 4: {
                                if (wireType !== 0)
                                    break;
                                if (value = reader.uint32())
                                    message.exclusiveLeaseMs = value;
                                else
                                    delete message.exclusiveLeaseMs;
                                continue;
                            }
                        }
                        reader.skipType(wireType, _depth, tag);
                        if (!reader.discardUnknown) {
                            $util.makeProp(message, "$unknowns", false);
                            (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                        }
                    }
                    if (length !== $undefined) {
                        if (reader.pos !== end)
                            throw $RangeError("index out of range");
                        reader.len = length;
                    }
                    if (_end !== $undefined)
                        throw $Error("missing end group");
                    return message;
                };

                return Welcome;
            })();

            v1.HeartbeatAck = (function() {

                /**
                 * Properties of a HeartbeatAck.
                 * @typedef {Object} drover.node.v1.HeartbeatAck.$Properties
                 * @property {number|null} [grantedMs] HeartbeatAck grantedMs
                 * @property {Array.<string>|null} [servers] HeartbeatAck servers
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */

                /**
                 * Properties of a HeartbeatAck.
                 * @memberof drover.node.v1
                 * @interface IHeartbeatAck
                 * @augments drover.node.v1.HeartbeatAck.$Properties
                 * @deprecated Use drover.node.v1.HeartbeatAck.$Properties instead.
                 */

                /**
                 * Shape of a HeartbeatAck.
                 * @typedef {drover.node.v1.HeartbeatAck.$Properties} drover.node.v1.HeartbeatAck.$Shape
                 */

                /**
                 * Constructs a new HeartbeatAck.
                 * @memberof drover.node.v1
                 * @classdesc Represents a HeartbeatAck.
                 * @constructor
                 * @param {drover.node.v1.HeartbeatAck.$Properties=} [properties] Properties to set
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */
                const HeartbeatAck = function (properties) {
                    this.servers = [];
                    if (properties)
                        for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                            if (properties[keys[i]] != null && keys[i] !== "__proto__")
                                this[keys[i]] = properties[keys[i]];
                };

                /**
                 * HeartbeatAck grantedMs.
                 * @member {number} grantedMs
                 * @memberof drover.node.v1.HeartbeatAck
                 * @instance
                 */
                HeartbeatAck.prototype.grantedMs = $util.Long ? $util.Long.fromBits(0,0,true) : 0;

                /**
                 * HeartbeatAck servers.
                 * @member {Array.<string>} servers
                 * @memberof drover.node.v1.HeartbeatAck
                 * @instance
                 */
                HeartbeatAck.prototype.servers = $util.emptyArray;

                /**
                 * Encodes the specified HeartbeatAck message. Does not implicitly {@link drover.node.v1.HeartbeatAck.verify|verify} messages.
                 * @function encode
                 * @memberof drover.node.v1.HeartbeatAck
                 * @static
                 * @param {drover.node.v1.HeartbeatAck.$Properties} message HeartbeatAck message or plain object to encode
                 * @param {$protobuf.Writer} [writer] Writer to encode to
                 * @returns {$protobuf.Writer} Writer
                 */
                HeartbeatAck.encode = function (message, writer, _depth) {
                    if (!writer)
                        writer = $Writer.create();
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $util.recursionLimit)
                        throw $Error("max depth exceeded");
                    if (message.grantedMs != null && $Object.hasOwnProperty.call(message, "grantedMs") && (typeof message.grantedMs === "object" ? message.grantedMs.low || message.grantedMs.high : message.grantedMs !== 0))
                        writer.uint32(/* id 1, wireType 0 =*/8).uint64(message.grantedMs);
                    if (message.servers != null && message.servers.length)
                        for (let i = 0; i < message.servers.length; ++i)
                            writer.uint32(/* id 2, wireType 2 =*/18).string(message.servers[i]);
                    if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                        for (let i = 0; i < message.$unknowns.length; ++i)
                            writer.raw(message.$unknowns[i]);
                    return writer;
                };

                /**
                 * Decodes a HeartbeatAck message from the specified reader or buffer.
                 * @function decode
                 * @memberof drover.node.v1.HeartbeatAck
                 * @static
                 * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
                 * @param {number} [length] Message length if known beforehand
                 * @returns {drover.node.v1.HeartbeatAck & drover.node.v1.HeartbeatAck.$Shape} HeartbeatAck
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                HeartbeatAck.decode = function (reader, length, _end, _depth, _target) {
                    if (!(reader instanceof $Reader))
                        reader = $Reader.create(reader);
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $Reader.recursionLimit)
                        throw $Error("max depth exceeded");
                    let end, message, value;
                    if (length === $undefined)
                        end = reader.len;
                    else {
                        end = reader.pos + length;
                        if (end > reader.len)
                            throw $RangeError("index out of range");
                        length = reader.len;
                        reader.len = end;
                    }
                    message = _target || new $root.drover.node.v1.HeartbeatAck();
                    while (reader.pos < end) {
                        let start = reader.pos;
                        let tag = reader.tag();
                        if (tag === _end) {
                            _end = $undefined;
                            break;
                        }
                        let wireType = tag & 7;
                        switch (tag >>>= 3) {
                        case 1: {
                                if (wireType !== 0)
                                    break;
                                if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                                    message.grantedMs = value;
                                else
                                    delete message.grantedMs;
                                continue;
                            }
                        case 2: {
                                if (wireType !== 2)
                                    break;
                                if (!(message.servers && message.servers.length))
                                    message.servers = [];
                                message.servers.push(reader.stringVerify());
                                continue;
                            }
                        }
                        reader.skipType(wireType, _depth, tag);
                        if (!reader.discardUnknown) {
                            $util.makeProp(message, "$unknowns", false);
                            (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                        }
                    }
                    if (length !== $undefined) {
                        if (reader.pos !== end)
                            throw $RangeError("index out of range");
                        reader.len = length;
                    }
                    if (_end !== $undefined)
                        throw $Error("missing end group");
                    return message;
                };

                return HeartbeatAck;
            })();

            v1.Changes = (function() {

                /**
                 * Properties of a Changes.
                 * @typedef {Object} drover.node.v1.Changes.$Properties
                 * @property {drover.node.v1.Table|null} [table] Changes table
                 * @property {drover.node.v1.Changes.Type|null} [type] Changes type
                 * @property {number|null} [baseSequence] Changes baseSequence
                 * @property {number|null} [sequence] Changes sequence
                 * @property {Array.<drover.node.v1.Change.$Properties>|null} [changes] Changes changes
                 * @property {boolean|null} [last] Changes last
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */

                /**
                 * Properties of a Changes.
                 * @memberof drover.node.v1
                 * @interface IChanges
                 * @augments drover.node.v1.Changes.$Properties
                 * @deprecated Use drover.node.v1.Changes.$Properties instead.
                 */

                /**
                 * Shape of a Changes.
                 * @typedef {drover.node.v1.Changes.$Properties} drover.node.v1.Changes.$Shape
                 */

                /**
                 * Constructs a new Changes.
                 * @memberof drover.node.v1
                 * @classdesc Represents a Changes.
                 * @constructor
                 * @param {drover.node.v1.Changes.$Properties=} [properties] Properties to set
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */
                const Changes = function (properties) {
                    this.changes = [];
                    if (properties)
                        for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                            if (properties[keys[i]] != null && keys[i] !== "__proto__")
                                this[keys[i]] = properties[keys[i]];
                };

                /**
                 * Changes table.
                 * @member {drover.node.v1.Table} table
                 * @memberof drover.node.v1.Changes
                 * @instance
                 */
                Changes.prototype.table = 0;

                /**
                 * Changes type.
                 * @member {drover.node.v1.Changes.Type} type
                 * @memberof drover.node.v1.Changes
                 * @instance
                 */
                Changes.prototype.type = 0;

                /**
                 * Changes baseSequence.
                 * @member {number} baseSequence
                 * @memberof drover.node.v1.Changes
                 * @instance
                 */
                Changes.prototype.baseSequence = $util.Long ? $util.Long.fromBits(0,0,true) : 0;

                /**
                 * Changes sequence.
                 * @member {number} sequence
                 * @memberof drover.node.v1.Changes
                 * @instance
                 */
                Changes.prototype.sequence = $util.Long ? $util.Long.fromBits(0,0,true) : 0;

                /**
                 * Changes changes.
                 * @member {Array.<drover.node.v1.Change.$Properties>} changes
                 * @memberof drover.node.v1.Changes
                 * @instance
                 */
                Changes.prototype.changes = $util.emptyArray;

                /**
                 * Changes last.
                 * @member {boolean} last
                 * @memberof drover.node.v1.Changes
                 * @instance
                 */
                Changes.prototype.last = false;

                /**
                 * Encodes the specified Changes message. Does not implicitly {@link drover.node.v1.Changes.verify|verify} messages.
                 * @function encode
                 * @memberof drover.node.v1.Changes
                 * @static
                 * @param {drover.node.v1.Changes.$Properties} message Changes message or plain object to encode
                 * @param {$protobuf.Writer} [writer] Writer to encode to
                 * @returns {$protobuf.Writer} Writer
                 */
                Changes.encode = function (message, writer, _depth) {
                    if (!writer)
                        writer = $Writer.create();
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $util.recursionLimit)
                        throw $Error("max depth exceeded");
                    if (message.table != null && $Object.hasOwnProperty.call(message, "table") && message.table !== 0)
                        writer.uint32(/* id 1, wireType 0 =*/8).int32(message.table);
                    if (message.type != null && $Object.hasOwnProperty.call(message, "type") && message.type !== 0)
                        writer.uint32(/* id 2, wireType 0 =*/16).int32(message.type);
                    if (message.baseSequence != null && $Object.hasOwnProperty.call(message, "baseSequence") && (typeof message.baseSequence === "object" ? message.baseSequence.low || message.baseSequence.high : message.baseSequence !== 0))
                        writer.uint32(/* id 3, wireType 0 =*/24).uint64(message.baseSequence);
                    if (message.sequence != null && $Object.hasOwnProperty.call(message, "sequence") && (typeof message.sequence === "object" ? message.sequence.low || message.sequence.high : message.sequence !== 0))
                        writer.uint32(/* id 4, wireType 0 =*/32).uint64(message.sequence);
                    if (message.changes != null && message.changes.length)
                        for (let i = 0; i < message.changes.length; ++i)
                            $root.drover.node.v1.Change.encode(message.changes[i], writer.uint32(/* id 5, wireType 2 =*/42).fork(), _depth + 1).ldelim();
                    if (message.last != null && $Object.hasOwnProperty.call(message, "last") && message.last !== false)
                        writer.uint32(/* id 6, wireType 0 =*/48).bool(message.last);
                    if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                        for (let i = 0; i < message.$unknowns.length; ++i)
                            writer.raw(message.$unknowns[i]);
                    return writer;
                };

                /**
                 * Decodes a Changes message from the specified reader or buffer.
                 * @function decode
                 * @memberof drover.node.v1.Changes
                 * @static
                 * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
                 * @param {number} [length] Message length if known beforehand
                 * @returns {drover.node.v1.Changes & drover.node.v1.Changes.$Shape} Changes
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                Changes.decode = function (reader, length, _end, _depth, _target) {
                    if (!(reader instanceof $Reader))
                        reader = $Reader.create(reader);
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $Reader.recursionLimit)
                        throw $Error("max depth exceeded");
                    let end, message, value;
                    if (length === $undefined)
                        end = reader.len;
                    else {
                        end = reader.pos + length;
                        if (end > reader.len)
                            throw $RangeError("index out of range");
                        length = reader.len;
                        reader.len = end;
                    }
                    message = _target || new $root.drover.node.v1.Changes();
                    while (reader.pos < end) {
                        let start = reader.pos;
                        let tag = reader.tag();
                        if (tag === _end) {
                            _end = $undefined;
                            break;
                        }
                        let wireType = tag & 7;
                        switch (tag >>>= 3) {
                        case 1: {
                                if (wireType !== 0)
                                    break;
                                if (value = reader.int32())
                                    message.table = value;
                                else
                                    delete message.table;
                                continue;
                            }
                        case 2: {
                                if (wireType !== 0)
                                    break;
                                if (value = reader.int32())
                                    message.type = value;
                                else
                                    delete message.type;
                                continue;
                            }
                        case 3: {
                                if (wireType !== 0)
                                    break;
                                if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                                    message.baseSequence = value;
                                else
                                    delete message.baseSequence;
                                continue;
                            }
                        case 4: {
                                if (wireType !== 0)
                                    break;
                                if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                                    message.sequence = value;
                                else
                                    delete message.sequence;
                                continue;
                            }
                        case 5: {
                                if (wireType !== 2)
                                    break;
                                if (!(message.changes && message.changes.length))
                                    message.changes = [];
                                message.changes.push($root.drover.node.v1.Change.decode(reader, reader.size(), $undefined, _depth + 1));
                                continue;
                            }
                        case 6: {
                                if (wireType !== 0)
                                    break;
                                if (value = reader.bool())
                                    message.last = value;
                                else
                                    delete message.last;
                                continue;
                            }
                        }
                        reader.skipType(wireType, _depth, tag);
                        if (!reader.discardUnknown) {
                            $util.makeProp(message, "$unknowns", false);
                            (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                        }
                    }
                    if (length !== $undefined) {
                        if (reader.pos !== end)
                            throw $RangeError("index out of range");
                        reader.len = length;
                    }
                    if (_end !== $undefined)
                        throw $Error("missing end group");
                    return message;
                };

                /**
                 * Type enum.
                 * @name drover.node.v1.Changes.Type
                 * @enum {number}
                 * @property {number} TYPE_UNSPECIFIED=0 TYPE_UNSPECIFIED value
                 * @property {number} COMPLETE=1 COMPLETE value
                 * @property {number} INCREMENTAL=2 INCREMENTAL value
                 */
                Changes.Type = (function() {
                    const valuesById = $Object.create(null), values = $Object.create(valuesById);
                    values[valuesById[0] = "TYPE_UNSPECIFIED"] = 0;
                    values[valuesById[1] = "COMPLETE"] = 1;
                    values[valuesById[2] = "INCREMENTAL"] = 2;
                    return values;
                })();

                return Changes;
            })();

            v1.Change = (function() {

                /**
                 * Properties of a Change.
                 * @typedef {Object} drover.node.v1.Change.$Properties
                 * @property {string|null} [key] Change key
                 * @property {Uint8Array|null} [json] Change json
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */

                /**
                 * Properties of a Change.
                 * @memberof drover.node.v1
                 * @interface IChange
                 * @augments drover.node.v1.Change.$Properties
                 * @deprecated Use drover.node.v1.Change.$Properties instead.
                 */

                /**
                 * Shape of a Change.
                 * @typedef {drover.node.v1.Change.$Properties} drover.node.v1.Change.$Shape
                 */

                /**
                 * Constructs a new Change.
                 * @memberof drover.node.v1
                 * @classdesc Represents a Change.
                 * @constructor
                 * @param {drover.node.v1.Change.$Properties=} [properties] Properties to set
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */
                const Change = function (properties) {
                    if (properties)
                        for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                            if (properties[keys[i]] != null && keys[i] !== "__proto__")
                                this[keys[i]] = properties[keys[i]];
                };

                /**
                 * Change key.
                 * @member {string} key
                 * @memberof drover.node.v1.Change
                 * @instance
                 */
                Change.prototype.key = "";

                /**
                 * Change json.
                 * @member {Uint8Array} json
                 * @memberof drover.node.v1.Change
                 * @instance
                 */
                Change.prototype.json = $util.newBuffer([]);

                /**
                 * Encodes the specified Change message. Does not implicitly {@link drover.node.v1.Change.verify|verify} messages.
                 * @function encode
                 * @memberof drover.node.v1.Change
                 * @static
                 * @param {drover.node.v1.Change.$Properties} message Change message or plain object to encode
                 * @param {$protobuf.Writer} [writer] Writer to encode to
                 * @returns {$protobuf.Writer} Writer
                 */
                Change.encode = function (message, writer, _depth) {
                    if (!writer)
                        writer = $Writer.create();
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $util.recursionLimit)
                        throw $Error("max depth exceeded");
                    if (message.key != null && $Object.hasOwnProperty.call(message, "key") && message.key !== "")
                        writer.uint32(/* id 1, wireType 2 =*/10).string(message.key);
                    if (message.json != null && $Object.hasOwnProperty.call(message, "json") && message.json.length)
                        writer.uint32(/* id 2, wireType 2 =*/18).bytes(message.json);
                    if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                        for (let i = 0; i < message.$unknowns.length; ++i)
                            writer.raw(message.$unknowns[i]);
                    return writer;
                };

                /**
                 * Decodes a Change message from the specified reader or buffer.
                 * @function decode
                 * @memberof drover.node.v1.Change
                 * @static
                 * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
                 * @param {number} [length] Message length if known beforehand
                 * @returns {drover.node.v1.Change & drover.node.v1.Change.$Shape} Change
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                Change.decode = function (reader, length, _end, _depth, _target) {
                    if (!(reader instanceof $Reader))
                        reader = $Reader.create(reader);
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $Reader.recursionLimit)
                        throw $Error("max depth exceeded");
                    let end, message, value;
                    if (length === $undefined)
                        end = reader.len;
                    else {
                        end = reader.pos + length;
                        if (end > reader.len)
                            throw $RangeError("index out of range");
                        length = reader.len;
                        reader.len = end;
                    }
                    message = _target || new $root.drover.node.v1.Change();
                    while (reader.pos < end) {
                        let start = reader.pos;
                        let tag = reader.tag();
                        if (tag === _end) {
                            _end = $undefined;
                            break;
                        }
                        let wireType = tag & 7;
                        switch (tag >>>= 3) {
                        case 1: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.key = value;
                                else
                                    delete message.key;
                                continue;
                            }
                        case 2: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.bytes()).length)
                                    message.json = value;
                                else
                                    delete message.json;
                                continue;
                            }
                        }
                        reader.skipType(wireType, _depth, tag);
                        if (!reader.discardUnknown) {
                            $util.makeProp(message, "$unknowns", false);
                            (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                        }
                    }
                    if (length !== $undefined) {
                        if (reader.pos !== end)
                            throw $RangeError("index out of range");
                        reader.len = length;
                    }
                    if (_end !== $undefined)
                        throw $Error("missing end group");
                    return message;
                };

                return Change;
            })();

            v1.OpenStream = (function() {

                /**
                 * Properties of an OpenStream.
                 * @typedef {Object} drover.node.v1.OpenStream.$Properties
                 * @property {string|null} [streamId] OpenStream streamId
                 * @property {string|null} [verb] OpenStream verb
                 * @property {Uint8Array|null} [requestJson] OpenStream requestJson
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */

                /**
                 * Properties of an OpenStream.
                 * @memberof drover.node.v1
                 * @interface IOpenStream
                 * @augments drover.node.v1.OpenStream.$Properties
                 * @deprecated Use drover.node.v1.OpenStream.$Properties instead.
                 */

                /**
                 * Shape of an OpenStream.
                 * @typedef {drover.node.v1.OpenStream.$Properties} drover.node.v1.OpenStream.$Shape
                 */

                /**
                 * Constructs a new OpenStream.
                 * @memberof drover.node.v1
                 * @classdesc Represents an OpenStream.
                 * @constructor
                 * @param {drover.node.v1.OpenStream.$Properties=} [properties] Properties to set
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */
                const OpenStream = function (properties) {
                    if (properties)
                        for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                            if (properties[keys[i]] != null && keys[i] !== "__proto__")
                                this[keys[i]] = properties[keys[i]];
                };

                /**
                 * OpenStream streamId.
                 * @member {string} streamId
                 * @memberof drover.node.v1.OpenStream
                 * @instance
                 */
                OpenStream.prototype.streamId = "";

                /**
                 * OpenStream verb.
                 * @member {string} verb
                 * @memberof drover.node.v1.OpenStream
                 * @instance
                 */
                OpenStream.prototype.verb = "";

                /**
                 * OpenStream requestJson.
                 * @member {Uint8Array} requestJson
                 * @memberof drover.node.v1.OpenStream
                 * @instance
                 */
                OpenStream.prototype.requestJson = $util.newBuffer([]);

                /**
                 * Encodes the specified OpenStream message. Does not implicitly {@link drover.node.v1.OpenStream.verify|verify} messages.
                 * @function encode
                 * @memberof drover.node.v1.OpenStream
                 * @static
                 * @param {drover.node.v1.OpenStream.$Properties} message OpenStream message or plain object to encode
                 * @param {$protobuf.Writer} [writer] Writer to encode to
                 * @returns {$protobuf.Writer} Writer
                 */
                OpenStream.encode = function (message, writer, _depth) {
                    if (!writer)
                        writer = $Writer.create();
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $util.recursionLimit)
                        throw $Error("max depth exceeded");
                    if (message.streamId != null && $Object.hasOwnProperty.call(message, "streamId") && message.streamId !== "")
                        writer.uint32(/* id 1, wireType 2 =*/10).string(message.streamId);
                    if (message.verb != null && $Object.hasOwnProperty.call(message, "verb") && message.verb !== "")
                        writer.uint32(/* id 2, wireType 2 =*/18).string(message.verb);
                    if (message.requestJson != null && $Object.hasOwnProperty.call(message, "requestJson") && message.requestJson.length)
                        writer.uint32(/* id 3, wireType 2 =*/26).bytes(message.requestJson);
                    if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                        for (let i = 0; i < message.$unknowns.length; ++i)
                            writer.raw(message.$unknowns[i]);
                    return writer;
                };

                /**
                 * Decodes an OpenStream message from the specified reader or buffer.
                 * @function decode
                 * @memberof drover.node.v1.OpenStream
                 * @static
                 * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
                 * @param {number} [length] Message length if known beforehand
                 * @returns {drover.node.v1.OpenStream & drover.node.v1.OpenStream.$Shape} OpenStream
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                OpenStream.decode = function (reader, length, _end, _depth, _target) {
                    if (!(reader instanceof $Reader))
                        reader = $Reader.create(reader);
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $Reader.recursionLimit)
                        throw $Error("max depth exceeded");
                    let end, message, value;
                    if (length === $undefined)
                        end = reader.len;
                    else {
                        end = reader.pos + length;
                        if (end > reader.len)
                            throw $RangeError("index out of range");
                        length = reader.len;
                        reader.len = end;
                    }
                    message = _target || new $root.drover.node.v1.OpenStream();
                    while (reader.pos < end) {
                        let start = reader.pos;
                        let tag = reader.tag();
                        if (tag === _end) {
                            _end = $undefined;
                            break;
                        }
                        let wireType = tag & 7;
                        switch (tag >>>= 3) {
                        case 1: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.streamId = value;
                                else
                                    delete message.streamId;
                                continue;
                            }
                        case 2: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.verb = value;
                                else
                                    delete message.verb;
                                continue;
                            }
                        case 3: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.bytes()).length)
                                    message.requestJson = value;
                                else
                                    delete message.requestJson;
                                continue;
                            }
                        }
                        reader.skipType(wireType, _depth, tag);
                        if (!reader.discardUnknown) {
                            $util.makeProp(message, "$unknowns", false);
                            (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                        }
                    }
                    if (length !== $undefined) {
                        if (reader.pos !== end)
                            throw $RangeError("index out of range");
                        reader.len = length;
                    }
                    if (_end !== $undefined)
                        throw $Error("missing end group");
                    return message;
                };

                return OpenStream;
            })();

            v1.StreamFrame = (function() {

                /**
                 * Properties of a StreamFrame.
                 * @typedef {Object} drover.node.v1.StreamFrame.$Properties
                 * @property {number|null} [channel] StreamFrame channel
                 * @property {Uint8Array|null} [data] StreamFrame data
                 * @property {boolean|null} [end] StreamFrame end
                 * @property {string|null} [errorCode] StreamFrame errorCode
                 * @property {string|null} [errorMessage] StreamFrame errorMessage
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */

                /**
                 * Properties of a StreamFrame.
                 * @memberof drover.node.v1
                 * @interface IStreamFrame
                 * @augments drover.node.v1.StreamFrame.$Properties
                 * @deprecated Use drover.node.v1.StreamFrame.$Properties instead.
                 */

                /**
                 * Shape of a StreamFrame.
                 * @typedef {drover.node.v1.StreamFrame.$Properties} drover.node.v1.StreamFrame.$Shape
                 */

                /**
                 * Constructs a new StreamFrame.
                 * @memberof drover.node.v1
                 * @classdesc Represents a StreamFrame.
                 * @constructor
                 * @param {drover.node.v1.StreamFrame.$Properties=} [properties] Properties to set
                 * @property {Array.<Uint8Array>} [$unknowns] Unknown fields preserved while decoding when enabled
                 */
                const StreamFrame = function (properties) {
                    if (properties)
                        for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                            if (properties[keys[i]] != null && keys[i] !== "__proto__")
                                this[keys[i]] = properties[keys[i]];
                };

                /**
                 * StreamFrame channel.
                 * @member {number} channel
                 * @memberof drover.node.v1.StreamFrame
                 * @instance
                 */
                StreamFrame.prototype.channel = 0;

                /**
                 * StreamFrame data.
                 * @member {Uint8Array} data
                 * @memberof drover.node.v1.StreamFrame
                 * @instance
                 */
                StreamFrame.prototype.data = $util.newBuffer([]);

                /**
                 * StreamFrame end.
                 * @member {boolean} end
                 * @memberof drover.node.v1.StreamFrame
                 * @instance
                 */
                StreamFrame.prototype.end = false;

                /**
                 * StreamFrame errorCode.
                 * @member {string} errorCode
                 * @memberof drover.node.v1.StreamFrame
                 * @instance
                 */
                StreamFrame.prototype.errorCode = "";

                /**
                 * StreamFrame errorMessage.
                 * @member {string} errorMessage
                 * @memberof drover.node.v1.StreamFrame
                 * @instance
                 */
                StreamFrame.prototype.errorMessage = "";

                /**
                 * Encodes the specified StreamFrame message. Does not implicitly {@link drover.node.v1.StreamFrame.verify|verify} messages.
                 * @function encode
                 * @memberof drover.node.v1.StreamFrame
                 * @static
                 * @param {drover.node.v1.StreamFrame.$Properties} message StreamFrame message or plain object to encode
                 * @param {$protobuf.Writer} [writer] Writer to encode to
                 * @returns {$protobuf.Writer} Writer
                 */
                StreamFrame.encode = function (message, writer, _depth) {
                    if (!writer)
                        writer = $Writer.create();
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $util.recursionLimit)
                        throw $Error("max depth exceeded");
                    if (message.channel != null && $Object.hasOwnProperty.call(message, "channel") && message.channel !== 0)
                        writer.uint32(/* id 1, wireType 0 =*/8).uint32(message.channel);
                    if (message.data != null && $Object.hasOwnProperty.call(message, "data") && message.data.length)
                        writer.uint32(/* id 2, wireType 2 =*/18).bytes(message.data);
                    if (message.end != null && $Object.hasOwnProperty.call(message, "end") && message.end !== false)
                        writer.uint32(/* id 3, wireType 0 =*/24).bool(message.end);
                    if (message.errorCode != null && $Object.hasOwnProperty.call(message, "errorCode") && message.errorCode !== "")
                        writer.uint32(/* id 4, wireType 2 =*/34).string(message.errorCode);
                    if (message.errorMessage != null && $Object.hasOwnProperty.call(message, "errorMessage") && message.errorMessage !== "")
                        writer.uint32(/* id 5, wireType 2 =*/42).string(message.errorMessage);
                    if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                        for (let i = 0; i < message.$unknowns.length; ++i)
                            writer.raw(message.$unknowns[i]);
                    return writer;
                };

                /**
                 * Decodes a StreamFrame message from the specified reader or buffer.
                 * @function decode
                 * @memberof drover.node.v1.StreamFrame
                 * @static
                 * @param {$protobuf.Reader|Uint8Array} reader Reader or buffer to decode from
                 * @param {number} [length] Message length if known beforehand
                 * @returns {drover.node.v1.StreamFrame & drover.node.v1.StreamFrame.$Shape} StreamFrame
                 * @throws {Error} If the payload is not a reader or valid buffer
                 * @throws {$protobuf.util.ProtocolError} If required fields are missing
                 */
                StreamFrame.decode = function (reader, length, _end, _depth, _target) {
                    if (!(reader instanceof $Reader))
                        reader = $Reader.create(reader);
                    if (_depth === $undefined)
                        _depth = 0;
                    if (_depth > $Reader.recursionLimit)
                        throw $Error("max depth exceeded");
                    let end, message, value;
                    if (length === $undefined)
                        end = reader.len;
                    else {
                        end = reader.pos + length;
                        if (end > reader.len)
                            throw $RangeError("index out of range");
                        length = reader.len;
                        reader.len = end;
                    }
                    message = _target || new $root.drover.node.v1.StreamFrame();
                    while (reader.pos < end) {
                        let start = reader.pos;
                        let tag = reader.tag();
                        if (tag === _end) {
                            _end = $undefined;
                            break;
                        }
                        let wireType = tag & 7;
                        switch (tag >>>= 3) {
                        case 1: {
                                if (wireType !== 0)
                                    break;
                                if (value = reader.uint32())
                                    message.channel = value;
                                else
                                    delete message.channel;
                                continue;
                            }
                        case 2: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.bytes()).length)
                                    message.data = value;
                                else
                                    delete message.data;
                                continue;
                            }
                        case 3: {
                                if (wireType !== 0)
                                    break;
                                if (value = reader.bool())
                                    message.end = value;
                                else
                                    delete message.end;
                                continue;
                            }
                        case 4: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.errorCode = value;
                                else
                                    delete message.errorCode;
                                continue;
                            }
                        case 5: {
                                if (wireType !== 2)
                                    break;
                                if ((value = reader.stringVerify()).length)
                                    message.errorMessage = value;
                                else
                                    delete message.errorMessage;
                                continue;
                            }
                        }
                        reader.skipType(wireType, _depth, tag);
                        if (!reader.discardUnknown) {
                            $util.makeProp(message, "$unknowns", false);
                            (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                        }
                    }
                    if (length !== $undefined) {
                        if (reader.pos !== end)
                            throw $RangeError("index out of range");
                        reader.len = length;
                    }
                    if (_end !== $undefined)
                        throw $Error("missing end group");
                    return message;
                };

                return StreamFrame;
            })();

            return v1;
        })();

        return node;
    })();

    return drover;
})();

export {
  $root as default
};
