/** Writes docs/fields.md, or with `--check` only says whether it is current. Run by deploy/generate.js. */
import { readFileSync, writeFileSync } from 'node:fs'
import { KINDS } from '../../src/api/kinds.ts'
import { fieldsDocument } from './field_table.ts'

const PATH = 'docs/fields.md'
const content = fieldsDocument(KINDS)
if (!process.argv.includes('--check')) writeFileSync(PATH, content)
else if (readFileSync(PATH, 'utf8') !== content) {
  console.error(`${PATH} is not what the schemas generate; run: npm run generate`)
  process.exitCode = 1
}
