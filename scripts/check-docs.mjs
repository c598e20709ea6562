// What a reader's editor shows: every public symbol, and every member of a public interface or class, has
// a comment; every operation says its shapes (`->` or `[...]`) and what it throws. Prints what lacks
// which, as file:line.
import ts from 'typescript';
import { fail, root } from './run.mjs';

const entries = ['src/index.ts', 'src/adapters/tfjs.ts', 'src/adapters/onnx.ts'];
const config = ts.readConfigFile('tsconfig.json', ts.sys.readFile);
const { options } = ts.parseJsonConfigFileContent(config.config, ts.sys, root);
const program = ts.createProgram(entries, options);
const checker = program.getTypeChecker();
const problems = [];

// Members that are the same of every operation.
const usual = new Set(['async', 'raw', 'prototype']);
// Operations, and what makes tensors.
const ofTensors = /src\/(ops\/.*|patterns|create)\.ts$/;

const resolved = (symbol) =>
  symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
const comment = (symbol) => ts.displayPartsToString(symbol.getDocumentationComment(checker));
const declarationOf = (symbol) => symbol.declarations?.[0];

function lack(symbol, name, what) {
  const declaration = declarationOf(symbol);
  const file = declaration.getSourceFile();
  const { line } = file.getLineAndCharacterOfPosition(declaration.getStart(file));
  problems.push(`${file.fileName.replace(`${root}/`, '')}:${line + 1}: ${name}: no ${what}`);
}

function isHidden(symbol) {
  const declaration = declarationOf(symbol);
  if (!declaration || ts.isTypeParameterDeclaration(declaration)) return true;
  const flags = ts.getCombinedModifierFlags(declaration);
  if (flags & (ts.ModifierFlags.Private | ts.ModifierFlags.Protected)) return true;
  return ts.getJSDocTags(declaration).some((tag) => tag.tagName.text === 'internal');
}

/** The names of members that a user types: not call signatures, not those of other libraries. */
function membersOf(symbol) {
  const isType = symbol.flags & (ts.SymbolFlags.Interface | ts.SymbolFlags.Class);
  if (!isType) return [];
  return [...symbol.members.values()].filter(
    (member) => !/^(__|#)/.test(member.name) && !usual.has(member.name) && !isHidden(member),
  );
}

function checkOperation(symbol, name) {
  const declaration = declarationOf(symbol);
  if (!ofTensors.test(declaration.getSourceFile().fileName)) return;
  if (checker.getTypeOfSymbol(symbol).getCallSignatures().length === 0) return;
  if (!/->|\[/.test(comment(symbol))) lack(symbol, name, 'shapes');
  const tags = symbol.getJsDocTags(checker).map((tag) => tag.name);
  if (!tags.includes('throws')) lack(symbol, name, '@throws');
}

function check(symbol, name) {
  const isModule = symbol.flags & ts.SymbolFlags.ValueModule;
  if (isModule) {
    for (const inner of checker.getExportsOfModule(symbol))
      check(resolved(inner), `${name}.${inner.name}`);
    return;
  }
  if (!comment(symbol)) lack(symbol, name, 'comment');
  for (const member of membersOf(symbol))
    if (!comment(member)) lack(member, `${name}.${member.name}`, 'comment');
  if (symbol.flags & (ts.SymbolFlags.Function | ts.SymbolFlags.Variable))
    checkOperation(symbol, name);
}

for (const entry of entries) {
  const module = checker.getSymbolAtLocation(program.getSourceFile(entry));
  for (const symbol of checker.getExportsOfModule(module)) check(resolved(symbol), symbol.name);
}
if (problems.length > 0) fail(problems.join('\n'));
