import { Counter, Gauge, Histogram, type Registry } from '../../base/metrics.ts'

export interface ImageMetrics {
  pullSeconds: Histogram<'result'>
  pulledBytes: Counter
  images: Gauge
}

export function createImageMetrics(registry: Registry): ImageMetrics {
  const registers = [registry]
  return {
    pullSeconds: new Histogram({
      name: 'drover_image_pull_seconds',
      help: 'Time of image pulls by result (ok or the code of the error)',
      labelNames: ['result'],
      buckets: [0.1, 0.5, 1, 5, 10, 30, 60, 300, 900],
      registers,
    }),
    pulledBytes: new Counter({
      name: 'drover_image_pulled_bytes_total',
      help: 'Bytes of layers that came from registries',
      registers,
    }),
    images: new Gauge({ name: 'drover_images', help: 'Images on this node', registers }),
  }
}
