import { readFileSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import ts from 'typescript';

/** The root of the repository; jest is started there. */
export const ROOT = process.cwd();

/** A page in Markdown. */
export interface Page {
  /** Relative to the root. */
  path: string;
  text: string;
}

/** A fenced block of code. */
export interface CodeBlock {
  page: string;
  /** Where its first line of code is, from 1. */
  line: number;
  language: string;
  code: string;
}

/** The pages that users read. */
export function userPages(): Page[] {
  const docs = readdirSync(join(ROOT, 'docs')).filter((name) => name.endsWith('.md'));
  return ['README.md', ...docs.map((name) => `docs/${name}`)].map(readPage);
}

export function readPage(path: string): Page {
  return { path, text: readFileSync(join(ROOT, path), 'utf8') };
}

/** All fenced blocks of a page. */
export function codeBlocks({ path, text }: Page): CodeBlock[] {
  const blocks: CodeBlock[] = [];
  let open: { block: CodeBlock; lines: string[] } | undefined;
  text.split('\n').forEach((line, index) => {
    const fence = /^```(.*)$/.exec(line);
    if (!fence) {
      open?.lines.push(line);
    } else if (open) {
      blocks.push({ ...open.block, code: open.lines.join('\n') });
      open = undefined;
    } else {
      open = { block: { page: path, line: index + 2, language: fence[1]!, code: '' }, lines: [] };
    }
  });
  if (open) {
    throw new Error(`${path}:${open.block.line}: a code block is not closed`);
  }
  return blocks;
}

/** The rows of the table under a heading: cells by the names of their columns, without the marks of code. */
export function tableUnder(page: Page, heading: string): Record<string, string>[] {
  const [, section] = page.text.split(`\n${heading}\n`);
  if (section === undefined) {
    throw new Error(`${page.path} has no heading '${heading}'`);
  }
  const rows = section
    .split(/\n#+ /)[0]!
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) => line.split(/(?<!\\)\|/).slice(1, -1));
  const [head = [], , ...body] = rows.map((cells) => cells.map(plain));
  return body.map((cells) => Object.fromEntries(head.map((name, i) => [name, cells[i] ?? ''])));
}

function plain(cell: string): string {
  return cell.replaceAll('`', '').replaceAll('\\|', '|').trim();
}

/** Links of a page that do not lead out of the repository and to nothing that is there; as `page:line: target`. */
export function brokenLinks(page: Page, exists: (path: string) => boolean): string[] {
  const broken: string[] = [];
  let inCode = false;
  page.text.split('\n').forEach((line, index) => {
    if (line.startsWith('```')) {
      inCode = !inCode;
    }
    for (const [, target = ''] of inCode ? [] : line.replace(/`[^`]*`/g, '').matchAll(/\]\(([^)\s]+)\)/g)) {
      if (!/^[a-z]+:/.test(target) && !leadsSomewhere(page, target, exists)) {
        broken.push(`${page.path}:${index + 1}: ${target}`);
      }
    }
  });
  return broken;
}

function leadsSomewhere(page: Page, target: string, exists: (path: string) => boolean): boolean {
  const [file = '', anchor] = target.split('#');
  const path = file === '' ? page.path : join(page.path, '..', file);
  if (!exists(path)) {
    return false;
  }
  return anchor === undefined || anchors(file === '' ? page : readPage(path)).has(anchor);
}

/** The anchors that GitHub gives to the headings of a page. */
function anchors({ text }: Page): Set<string> {
  const headings = text.split('\n').filter((line) => /^#+ /.test(line));
  return new Set(
    headings.map((line) =>
      line
        .replace(/^#+ /, '')
        .toLowerCase()
        .replace(/[^\w\- ]/g, '')
        .replaceAll(' ', '-'),
    ),
  );
}

/**
 * Type-checks blocks as files of the repository, in one program, by the settings of tsconfig.json. Only what is
 * declared and not used is let through: an example may show a class that nothing in it uses.
 * @returns what is wrong, as `page:line: message`
 */
export function typeCheck(blocks: readonly CodeBlock[]): string[] {
  const { config } = ts.readConfigFile(join(ROOT, 'tsconfig.json'), (path) => ts.sys.readFile(path)) as {
    config: { compilerOptions: object };
  };
  const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, ROOT);
  const settings: ts.CompilerOptions = {
    ...options,
    noUnusedLocals: false,
    noUnusedParameters: false,
    // A block without imports is a module too: its names are nobody else's.
    moduleDetection: ts.ModuleDetectionKind.Force,
  };
  const files = new Map(blocks.map((block) => [fileOf(block), block]));
  const host = ts.createCompilerHost(settings);
  host.fileExists = (path) => files.has(path) || ts.sys.fileExists(path);
  host.readFile = (path) => files.get(path)?.code ?? ts.sys.readFile(path);
  const program = ts.createProgram([...files.keys()], settings, host);
  return [...files].flatMap(([path, block]) => {
    const source = program.getSourceFile(path)!;
    return [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)].map(
      ({ start = 0, code, messageText }) => {
        const { line } = source.getLineAndCharacterOfPosition(start);
        return `${block.page}:${block.line + line}: TS${code}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`;
      },
    );
  });
}

/** A file that is not there, beside its page, so that it resolves what a file there would. */
function fileOf({ page, line }: CodeBlock): string {
  return resolve(ROOT, `${page}.line-${line}.ts`);
}

/** The type of each property of an interface, as it is written in a source file. */
export function propertyTypes(path: string, interfaceName: string): Map<string, string> {
  const source = ts.createSourceFile(path, readPage(path).text, ts.ScriptTarget.Latest);
  const found = source.statements.find(
    (statement): statement is ts.InterfaceDeclaration =>
      ts.isInterfaceDeclaration(statement) && statement.name.text === interfaceName,
  );
  if (!found) {
    throw new Error(`${path} has no interface ${interfaceName}`);
  }
  return new Map(
    found.members
      .filter(ts.isPropertySignature)
      .map((member) => [member.name.getText(source), member.type?.getText(source) ?? '']),
  );
}
