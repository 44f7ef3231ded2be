/** Writes a kubeconfig. Source: Kubernetes `client.authentication` v1 Config. */
import { stringify } from 'yaml'
import type { CertificateAndKey } from '../base/pki.ts'

export interface KubeconfigContent {
  clusterName: string
  server: string
  caPem: string
  user: string
  credentials: CertificateAndKey
}

const base64 = (text: string): string => Buffer.from(text, 'utf8').toString('base64')

export function renderKubeconfig({ clusterName, server, caPem, user, credentials }: KubeconfigContent): string {
  return stringify(
    {
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': clusterName,
      clusters: [{ name: clusterName, cluster: { server, 'certificate-authority-data': base64(caPem) } }],
      contexts: [{ name: clusterName, context: { cluster: clusterName, user, namespace: 'default' } }],
      users: [
        {
          name: user,
          user: {
            'client-certificate-data': base64(credentials.certPem),
            'client-key-data': base64(credentials.keyPem),
          },
        },
      ],
    },
    { lineWidth: 0 },
  )
}
