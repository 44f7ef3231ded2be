/** Tables as the server sends them (`meta.k8s.io/v1` Table), printed in columns. */
import type { KubeObject } from '../api/meta.ts'

export interface Table {
  kind: 'Table'
  metadata?: { resourceVersion?: string; continue?: string }
  columnDefinitions?: { name: string; type: string; priority: number }[]
  rows: { cells: unknown[]; object: KubeObject }[]
}

export const TABLE_ACCEPT = 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json'

/** Lines with columns padded to the widest cell, three spaces apart; the last column is not padded. */
export function alignColumns(rows: readonly (readonly string[])[], minimum: readonly number[] = []): string[] {
  const widths: number[] = [...minimum]
  for (const row of rows) for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length)
  return rows.map((row) =>
    row
      .map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd((widths[i] ?? 0) + 3)))
      .join('')
      .trimEnd(),
  )
}

export interface TableOptions {
  wide: boolean
  withNamespace: boolean
  withKind?: string
}

/** Header and rows of the columns to show, as text. */
export function tableRows(table: Table, columns: Table['columnDefinitions'], options: TableOptions): string[][] {
  const shown = (columns ?? []).map((column, index) => ({ ...column, index }))
  const visible = shown.filter((column) => options.wide || column.priority === 0)
  return table.rows.map((row) => {
    const cells = visible.map(({ index }) => String(row.cells[index] ?? '<none>'))
    if (options.withKind !== undefined) cells[0] = `${options.withKind}/${cells[0]}`
    return options.withNamespace ? [row.object.metadata.namespace ?? '', ...cells] : cells
  })
}

export function tableHeader(columns: Table['columnDefinitions'], options: TableOptions): string[] {
  const visible = (columns ?? []).filter((column) => options.wide || column.priority === 0)
  const names = visible.map((column) => column.name.toUpperCase())
  return options.withNamespace ? ['NAMESPACE', ...names] : names
}
