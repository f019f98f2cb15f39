-- Filter of the reports, run by pandoc: once when it reads the cells (FORMAT is "json"), once for each file it writes.
-- Reading: formulas and links are checked; what is left out is listed in the metadata "left-out", with lesson and cell.
-- Writing: code is folded on the screen and left out on paper; alert boxes, details and colours get their form.

local paper = FORMAT == "typst"
local left_out = pandoc.List()
local formulas = pandoc.List() -- with their typst source, for a test compilation
local known = {} -- identifiers in the document
local checked = {} -- formula -> whether it can be written
local definitions = "" -- of TeX commands: as in MathJax, they hold for all later formulas
local place = "" -- lesson and cell
local headings = 0 -- that had no identifier

local function short(text)
  text = text:gsub("%s+", " ")
  return utf8.len(text) and utf8.len(text) > 80 and text:sub(1, utf8.offset(text, 80) - 1) .. "…" or text
end

local function leave_out(what)
  local line = place .. ": " .. what
  if not left_out:includes(line) then left_out:insert(line) end
end

-- Returns the formula without the commands it defines, and with all that are defined replaced.
local function expand(tex, kind)
  for _, pattern in ipairs {
    "\\r?e?n?e?w?p?r?o?v?i?d?e?command%*?%s*{?\\%a+}?%s*%[?%d*%]?%s*%b{}", "\\def%s*\\%a+[#%d]*%s*%b{}",
    "\\DeclareMathOperator%*?%s*{\\%a+}%s*%b{}" } do
    tex = tex:gsub(pattern, function(definition)
      definitions = definitions .. definition:gsub("\\def%s*(\\%a+)%s*{", "\\newcommand{%1}{") .. "\n"
      return ""
    end)
  end
  if definitions == "" or tex:match("^%s*$") then return tex end
  local read, document = pcall(pandoc.read, definitions .. "\n$" .. tex .. "$", "latex+latex_macros")
  if not read then return tex end
  local expanded = tex
  document:walk { Math = function(math) expanded = math.text end }
  return expanded
end

-- Commands that MathJax takes and pandoc does not, each with what pandoc takes.
local REWRITES = {
  { "\\notag%f[%A]", "" }, { "\\[lL]arge%f[%A]", "" }, { "\\LARGE%f[%A]", "" },
  { "\\textcolor%s*%b{}%s*", "" }, { "\\color%s*%b{}", "" }, { "\\tag%*?%s*%b{}", "" },
  { "\\hbox%s*{", "\\text{" },
  { "{\\rm%f[%A]%s*([^{}]*)}", "{\\mathrm{%1}}" }, { "{\\bf%f[%A]%s*([^{}]*)}", "{\\mathbf{%1}}" },
  { "{\\it%f[%A]%s*([^{}]*)}", "{\\mathit{%1}}" }, { "{\\cal%f[%A]%s*([^{}]*)}", "{\\mathcal{%1}}" },
  { "{([^{}]*)\\over%f[%A]([^{}]*)}", "{\\frac{%1}{%2}}" }, { "^([^{}]*)\\over%f[%A]([^{}]*)$", "\\frac{%1}{%2}" },
}

-- Returns a formula, or its source if pandoc cannot write it.
local function formula(span)
  local kind = span.classes:includes("display") and "DisplayMath" or "InlineMath"
  local source = pandoc.utils.stringify(span)
  local tex = expand(source, kind)
  for _, rewrite in ipairs(REWRITES) do tex = tex:gsub(rewrite[1], rewrite[2]) end
  if tex:match("^%s*$") then return {} end
  local math = pandoc.Math(kind, tex)
  if checked[tex] == nil then
    local document = pandoc.Pandoc { pandoc.Plain { math } }
    local written, html = pcall(pandoc.write, document, "html", { html_math_method = "mathml" })
    checked[tex] = written and html:find("<math", 1, true) ~= nil
    if checked[tex] then formulas:insert { place = place, tex = tex, typst = pandoc.write(document, "typst") } end
  end
  for _, command in ipairs { "color", "textcolor", "tag", "cancel" } do
    if checked[tex] and source:find("\\" .. command .. "%f[%A]") then leave_out("\\" .. command .. ' in the formula "' .. short(source) .. '"') end
  end
  if checked[tex] then return math end
  leave_out('the formula "' .. short(source) .. '"; its source is shown')
  return pandoc.Code(source)
end

local function link(el)
  local name = el.target:match("^#(.*)$")
  if el.target == "" then return el.content end
  if not name or known[name] then return el end
  if name ~= "" and not name:match("^lesson%-") then
    leave_out('the link to "' .. name:gsub("^%d+%-", "") .. '" (no heading or anchor of this name)')
  end
  return el.content
end

local function learn(el) if el.identifier ~= "" then known[el.identifier] = true end end

-- Anchors inside a heading follow it: a table of contents repeats the heading, and no anchor may be there twice.
local function heading(el)
  local anchors = pandoc.Inlines {}
  el = el:walk { Span = function(span)
    if span.identifier == "" then return nil end
    anchors:insert(pandoc.Span({}, { id = span.identifier }))
    span.identifier = ""
    return span
  end }
  if el.identifier == "" then
    headings = headings + 1
    el.identifier = "heading-" .. headings
  end
  return #anchors > 0 and { el, pandoc.Plain(anchors) } or el
end

local function check(document)
  document = document:walk { Header = heading }
  document:walk { Block = function(el) if el.attr then learn(el) end end, Span = learn, Code = learn, Image = learn,
    Link = learn }
  document.blocks = document.blocks:map(function(cell)
    place = cell.attributes and cell.attributes.cell or place
    cell = cell:walk { Span = function(span) if span.classes:includes("math") then return formula(span) end end }
    return cell:walk { Link = link, RawBlock = function() return {} end, RawInline = function() return {} end }
  end)
  document.meta["left-out"] = left_out
  document.meta["formulas"] = formulas
  return document
end

local function declared(el, name)
  return ((el.attributes.style or ""):match("%f[%w-]" .. name .. ":%s*([^;]+)"))
end

local ALERTS = { ["alert-info"] = "#d9edf7", ["alert-success"] = "#dff0d8", ["alert-warning"] = "#fcf8e3",
  ["alert-danger"] = "#f2dede" }

-- Gives an element of the paper the colours of its style, as attributes that pandoc's typst writer knows.
local function colour(el)
  local text, fill = declared(el, "color"), declared(el, "background%-color")
  if text then el.attributes["typst:text:fill"] = 'rgb("' .. text .. '")' end
  if declared(el, "font%-weight") == "bold" then el.attributes["typst:text:weight"] = '"bold"' end
  if declared(el, "font%-style") == "italic" then el.attributes["typst:text:style"] = '"italic"' end
  return fill
end

local function raw(text) return pandoc.RawBlock("typst", text) end

-- A label needs an element before it in its paragraph; an invisible one always is there.
local function anchor(name) return "#metadata(none)<" .. name .. ">" end

local function aligned(el)
  local side = declared(el, "text%-align") or el.attributes.align
  return (side == "center" or side == "right" or side == "left") and side or nil
end

local function paper_div(el)
  local blocks = pandoc.List()
  if el.identifier ~= "" then blocks:insert(raw(anchor(el.identifier))) end
  el.identifier = ""
  local fill = colour(el)
  for class, shade in pairs(ALERTS) do if el.classes:includes(class) then fill = shade end end
  if el.classes:includes("alert") and not fill then fill = "#fcf8e3" end
  if fill then
    el.attributes["typst:fill"] = 'rgb("' .. fill .. '")'
    el.attributes["typst:inset"] = "8pt"
    el.attributes["typst:radius"] = "2pt"
    el.attributes["typst:width"] = "100%"
  end
  if el.classes:includes("summary") then el.content = { pandoc.Para(pandoc.Strong(pandoc.utils.blocks_to_inlines(el.content))) } end
  local side = aligned(el)
  if side then blocks:extend { raw("#align(" .. side .. ")["), el, raw("]") } else blocks:insert(el) end
  return blocks
end

-- HTML has no attribute for the alignment any more; a style says it.
local function screen_aligned(el)
  if not el.attributes.align or not aligned(el) then return nil end
  el.attributes.style = "text-align: " .. aligned(el) .. "; " .. (el.attributes.style or "")
  el.attributes.align = nil
  return el
end

local function screen_div(el)
  local tag = el.classes:includes("details") and "details" or el.classes:includes("summary") and "summary"
  if not tag then return screen_aligned(el) end
  local blocks = pandoc.List { pandoc.RawBlock("html", "<" .. tag .. ">") }
  blocks:extend(el.content)
  blocks:insert(pandoc.RawBlock("html", "</" .. tag .. ">"))
  return blocks
end

local function code(el)
  if not el.classes:includes("folded") then return nil end
  if paper then return {} end
  el.classes = { "python" }
  return { pandoc.RawBlock("html", "<details><summary>Code</summary>"), el, pandoc.RawBlock("html", "</details>") }
end

local function paper_span(el)
  local fill = colour(el)
  local inlines = pandoc.List()
  if el.identifier ~= "" then inlines:insert(pandoc.RawInline("typst", anchor(el.identifier))) end
  el.identifier = ""
  if el.classes:includes("kbd") then el.content = { pandoc.Code(pandoc.utils.stringify(el)) } end
  if fill then
    inlines:extend { pandoc.RawInline("typst", '#highlight(fill: rgb("' .. fill .. '"))['), el, pandoc.RawInline("typst", "]") }
  else
    inlines:insert(el)
  end
  return inlines
end

local function paper_anchor(el)
  if el.identifier == "" then return nil end
  local name = el.identifier
  el.identifier = ""
  return { raw(anchor(name)), el }
end

-- Returns the blocks of all cells without their frames. On paper a lesson, and each heading as large, begins a page.
local function open_cells(cells)
  local blocks = pandoc.Blocks {}
  local at_start = false -- of a page
  for _, cell in ipairs(cells) do
    for _, block in ipairs(cell.attributes and cell.attributes.cell and cell.content or { cell }) do
      local is_lesson = block.identifier and block.identifier:match("^lesson%-%d+$") ~= nil
      if paper and (is_lesson or block.t == "Header" and block.level == 1 and not at_start) then
        blocks:insert(raw("#pagebreak(weak: true)"))
      end
      at_start = is_lesson
      if block.t == "Plain" then block = pandoc.Para(block.content) end -- the next cell begins a paragraph
      blocks:insert(block)
    end
  end
  return blocks
end

local function paper_table(el)
  if #el.colspecs == 0 then return el.caption.long end -- no cells
  local sections = pandoc.List { el.head.rows, el.foot.rows }
  for _, body in ipairs(el.bodies) do sections:extend { body.head, body.body } end
  for _, rows in ipairs(sections) do
    for _, row in ipairs(rows) do
      for _, cell in ipairs(row.cells) do
        local fill = colour(cell)
        if fill then cell.attributes["typst:fill"] = 'rgb("' .. fill .. '")' end
      end
    end
  end
  return paper_anchor(el) or el
end

local function write(document)
  local untypeset = {}
  for _, tex in ipairs(document.meta.untypeset or {}) do untypeset[pandoc.utils.stringify(tex)] = true end
  document.blocks = open_cells(document.blocks)
  if paper then
    document = document:walk {
      CodeBlock = code, Div = paper_div, Span = paper_span, Table = paper_table, Figure = paper_anchor,
      BlockQuote = function(el) -- typst's quote cannot be nested deeply
        return pandoc.Blocks { raw("#pad(x: 1.5em)[") } .. el.content .. pandoc.Blocks { raw("]") }
      end,
      DefinitionList = function(el) -- a term is one line in typst
        el.content = el.content:map(function(item)
          return { item[1]:walk { LineBreak = function() return pandoc.Str(", ") end }, item[2] }
        end)
        return el
      end,
      Math = function(el) if untypeset[el.text] then return pandoc.Code(el.text) end end,
      Header = function(el)
        local side = aligned(el)
        return side and { raw("#align(" .. side .. ")["), el, raw("]") } or nil
      end,
    }
  else
    document = document:walk { CodeBlock = code, Div = screen_div, Header = screen_aligned }
  end
  local lines = document.meta["left-out"] or {}
  if #lines > 0 then
    if paper then document.blocks:insert(raw("#pagebreak(weak: true)")) end
    document.blocks:insert(pandoc.Header(1, "Left out of this report", { id = "left-out" }))
    document.blocks:insert(pandoc.Para("What Jupyter may show and this report does not, by lesson and cell:"))
    local items = pandoc.List(lines):map(function(line) return { pandoc.Plain(pandoc.utils.stringify(line)) } end)
    document.blocks:insert(pandoc.BulletList(items))
  end
  document.meta["left-out"], document.meta.formulas, document.meta.untypeset = nil, nil, nil
  return document
end

function Pandoc(document) return FORMAT == "json" and check(document) or write(document) end
