// The editor, in a shadow root: there its styles are constructed style sheets, which the page's content security policy allows, and
// not style elements, which the policy forbids.

import { closeBrackets } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { javascript } from "@codemirror/lang-javascript";
import { HighlightStyle, bracketMatching, indentOnInput, syntaxHighlighting } from "@codemirror/language";
import { setDiagnostics } from "@codemirror/lint";
import { Compartment, EditorState } from "@codemirror/state";
import { EditorView, drawSelection, highlightActiveLine, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";

const colours = HighlightStyle.define([
  { tag: [tags.keyword, tags.operatorKeyword, tags.modifier], color: "var(--keyword)" },
  { tag: [tags.string, tags.regexp, tags.special(tags.string)], color: "var(--string)" },
  { tag: [tags.number, tags.bool, tags.null], color: "var(--number)" },
  { tag: tags.comment, color: "var(--quiet)" },
  { tag: [tags.function(tags.variableName), tags.definition(tags.variableName)], color: "var(--name)" },
]);

const look = EditorView.theme({
  "&": { color: "var(--ink)", backgroundColor: "var(--field)", fontSize: "var(--code)" },
  "&.cm-focused": { outline: "2px solid var(--accent)" },
  ".cm-scroller": { fontFamily: "ui-monospace, monospace", minHeight: "14rem", maxHeight: "26rem" },
  ".cm-content": { caretColor: "var(--ink)" },
  ".cm-cursor": { borderLeftColor: "var(--ink)" },
  ".cm-gutters": { color: "var(--quiet)", backgroundColor: "var(--field)", border: "none" },
  ".cm-activeLine": { backgroundColor: "transparent" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
    backgroundColor: "var(--select)",
  },
});

/** Replaces a selection by typed text itself. The browser would keep the look of the selection in a style attribute, which the
 * content security policy forbids and the browser reports. */
const typeOverSelection = EditorView.domEventHandlers({
  beforeinput: (event, view) => {
    const { from, to, empty } = view.state.selection.main;
    const { data } = event;
    if (empty || data === null || event.inputType !== "insertText" || view.composing) return false;
    event.preventDefault();
    const insert = () => view.state.update(view.state.replaceSelection(data), { userEvent: "input.type", scrollIntoView: true });
    const isHandled = view.state.facet(EditorView.inputHandler).some((handle) => handle(view, from, to, data, insert));
    if (!isHandled) view.dispatch(insert());
    return true;
  },
});

export class Editor {
  private readonly view: EditorView;
  private readonly language = new Compartment();

  constructor(place: HTMLElement, code: string, run: () => void, changed: () => void) {
    const root = place.attachShadow({ mode: "open" });
    this.view = new EditorView({
      parent: root,
      root,
      state: EditorState.create({
        doc: code,
        extensions: [
          lineNumbers(),
          history(),
          drawSelection(),
          indentOnInput(),
          bracketMatching(),
          closeBrackets(),
          highlightActiveLine(),
          typeOverSelection,
          this.language.of(javascript()),
          syntaxHighlighting(colours),
          look,
          EditorView.contentAttributes.of({ "aria-label": "Script", tabindex: "0" }),
          EditorView.updateListener.of((update) => {
            if (!update.docChanged) return;
            this.mark();
            changed();
          }),
          keymap.of([
            { key: "Mod-Enter", run: () => (run(), true) },
            // Escape, then Tab leaves the editor, for keyboard users.
            ...defaultKeymap,
            ...historyKeymap,
            indentWithTab,
          ]),
        ],
      }),
    });
  }

  get code(): string {
    return this.view.state.doc.toString();
  }

  set code(text: string) {
    this.view.dispatch({ changes: { from: 0, to: this.view.state.doc.length, insert: text } });
  }

  /** Colours the script as one of this language. */
  setLanguage(name: string): void {
    const effects = this.language.reconfigure(javascript({ typescript: name === "typescript" }));
    this.view.dispatch({ effects });
  }

  /** Marks the position of an error; without a line, removes the mark. */
  mark(line?: number, column = 1, message = ""): void {
    const { state } = this.view;
    if (line === undefined || line < 1 || line > state.doc.lines) {
      if (line === undefined) queueMicrotask(() => this.view.dispatch(setDiagnostics(this.view.state, [])));
      return;
    }
    const { from, to } = state.doc.line(line);
    const start = Math.min(from + column - 1, to);
    this.view.dispatch(setDiagnostics(state, [{ from: start, to: Math.max(to, start), severity: "error", message }]));
  }

  /** Moves the cursor to a position. */
  show(line: number, column: number): void {
    const at = this.view.state.doc.line(Math.min(line, this.view.state.doc.lines));
    const anchor = Math.min(at.from + column - 1, at.to);
    this.view.dispatch({ selection: { anchor }, scrollIntoView: true });
    this.view.focus();
  }
}
