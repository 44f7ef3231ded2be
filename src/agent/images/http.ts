export interface ProxyOptions {
  /** `http://host:port` */
  url: string
  /** The whole value of Proxy-Authorization. */
  authorization?: string
}
