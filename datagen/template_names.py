"""Names of templates, by what to do with them. Lower case, single spaces, in no order that matters."""


def names(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.replace("\n", " ").split("|"))


SILENT = names(
    "sfn|sfnp|sfnm|sfnb|harvnb|harvtxt|harv|harvp|harvcoltxt|harvard citation|harvard citation no brackets|harvid|"
    "refn|efn|efn-ua|efn-lr|notetag|note|ref|ref label|note label|#tag:ref|r|rp|cite|citation|cn|fact|"
    "citation needed|clarify|when|who|which|where|why|by whom|whom|says who|according to whom|"
    "dubious|vague|specify|page needed|pages needed|page number|year needed|full citation needed|better source|"
    "better source needed|failed verification|verify source|verify quote|vs|vn|unreliable source?|unreliable source|"
    "self-published inline|original research inline|or|weasel inline|weasel-inline|peacock inline|pov-inline|"
    "pov-statement|neutrality|attribution needed|dead link|dl|webarchive|wayback|cbignore|isbn|issn|oclc|doi|pmid|"
    "pmc|lccn|jstor|arxiv|asin|google books|youtube|update inline|update after|needs update|disputed inline|"
    "disputed-inline|contradict-inline|contradiction-inline|inconsistent|discuss|lead missing|relevance inline|"
    "importance inline|undue inline|disambiguation needed|dn|not in source|nb|inline citations|ambiguous|elucidate|"
    "examples|quantify|flagicon|flagicon image|flagdeco|flagu icon|fr icon|ru icon|de icon|en icon|ja icon|es icon|"
    "it icon|sup-icon|icon|increase|decrease|steady|anchor|anchors|main|main article|"
    "see also|further|further information|details|about|for|other uses|otheruses|redirect|redirect2|distinguish|"
    "hatnote|other people|use dmy dates|use mdy dates|use british english|use american english|short description|"
    "good article|featured article|pp|pp-move|pp-move-indef|pp-semi-indef|pp-protected|pp-vandalism|reflist|refbegin|"
    "refend|notelist|authority control|commons category|commons|commons-inline|commons category-inline|wikiquote|"
    "wikisource|wiktionary|wikibooks|wikispecies|sister project links|portal|portal bar|navboxes|clear|-|clear left|"
    "clear right|toc|toc left|toc right|toclimit|toc limit|no toc|div col|div col end|div col begin|col-begin|"
    "col-end|col-break|colbegin|colend|columns-list|hlist|plainlist|endplainlist|flatlist|unbulleted list|ubl|"
    "vunblist|bulleted list|bartable|bar box|bar percent|clade|chart|legend|multiple image|double image|image label|"
    "image frame|wide image|panorama|css image crop|photomontage|gallery|listen|audio|quote box|quotebox|"
    "disambiguation|disambig|dmoz|official website|imdb name|imdb title|find a grave|library resources box|"
    "internet archive author|librivox author|gutenberg author|wikisource-inline|wikiatlas|osmrelation-inline|s-start|"
    "s-end|s-bef|s-ttl|s-aft|refimprove|refimprove section|more citations needed|more citations needed section|"
    "unreferenced|unreferenced section|expand section|more footnotes|no footnotes|inconsistent citations|pov|cleanup|"
    "update|by|void|null|shy|wbr|zwj|zwnj|zwsp|#if|pagename|defaultsort|displaytitle|lowercase title|italic title|"
    "fossil range|fossilrange|geological range|'|thinsp|hidden begin|hidden end|collapse top|collapse bottom|"
    "cia world factbook link|geographic location|navbox|wikipedia books|mw-datatable|pipe escape"
)
SILENT_STARTS = (
    "cite ", "vcite", "infobox", "taxobox", "automatic taxobox", "campaignbox", "defaultsort:", "navbox", "pp-",
    "use ", "efn", "sfn", "harv", "reflist", "sidebar", "portal", "commons", "wikt", "s-", "col-", "citation", "#tag",
    "ref-", "toc", "expand ", "redirect", "displaytitle:", "bots", "nobots", "subject bar", "series ", "cleanup",
    "unreferenced", "lead ", "cat ", "category ", "short description", "annotated image", "location map",
    "pie chart", "graph:", "main ", "bar chart", "climate chart", "weather box", "historical populations",
    "us census population",
)  # fmt: skip
SILENT_ENDS = (" icon", "-stub", " navbox", " topics", " sidebar", " series")
HOLES = names(
    "inflation|inflation-year|inflation-fn|formatprice|to usd|currentyear|currentmonth|currentday|age|age in years|"
    "age in days|age in years and days|age nts|time ago|years ago|#expr|#time|inrconvert|us$-convert|"
    "number of articles|numberofarticles|population|math|mvar|tmath|chem2|rail gauge|railgauge"
)
SHOWN = names(  # the first parameter is what is seen
    "citation needed span|cnspan|clarify span|disputed span|"
    "nowrap|nobr|nowraplinks|nobold|noitalic|small|smaller|smalldiv|big|larger|resize:|em|strong|strongbad|bold|b|i|"
    "italics|italic|u|underline|sc|smallcaps|small caps|smallcaps2|abbr|abbrv|tooltip|hover title|visible anchor|"
    "vanchor|not a typo|typo|sic inline|as written|proper name|keypress|key|kbd|key press|code|mono|tt|samp|var|tq|"
    "longitem|nts|ntsh|number table sorting|native phrase|"
    "center|centre|align|notatypo|lcfirst:|ucfirst:|lc:|uc:|title case|"
    "midsize|font|allow wrap|normal|roman|rn|ship name|"
    "flag|flagcountry|flagu|flaglist|country data|army|navy|air force|armed forces|noflag|flagg|"
    "unicode|script|linktext|wikt-lang|wict|dates|hebrew|arabic|script/hebrew|script/arabic|angle bracket content|"
    "sortname first|nihongo foot|nihongo2|nihongo core|zh-full|asiantitle|no wrap|avoid wrap|ordered|snamei|sname|"
    "species|ipalink|lcode|cmn|nastaliq|my|polytonic|grc"
)
SECOND_SHOWN = names(  # the last parameter is what is seen
    "lang|color|font color|colour|colored link|hover|resize|font size|fontcolor|transl|transliteration|rtl-lang|"
    "lang-rtl|background color|bgcolor|text color|wikt|link|lk|see section|seclink|plain link"
)
GLYPHS = {
    "nbsp": " ", "spaces": " ", "space": " ", "sp": " ", "nnbsp": " ", "thin space": " ", "hair space": " ", "0": "",
    "ndash": "–", "en dash": "–", "–": "–", "mdash": "—", "em dash": "—", "—": "—", "snd": " – ", "spnd": " – ",
    "spaced ndash": " – ", "spaced en dash": " – ", "dash": " – ", "mdashb": "—", "ndashb": "–", "snds": " – ",
    "spmd": " — ", "!": "|", "=": "=", "·": " · ", "dot": " · ", "middot": "·", "•": " • ", "bullet": " • ",
    "'s": "'s", "'": "'", "pi": "π", "minus": "−", "times": "×", "x": "×", "±": "±", "+-": "±", "pm": "±",
    "half": "1/2", "degree": "°", "deg": "°", "(": "{", ")": "}", "((": "{{", "))": "}}", "sharp": "♯", "flat": "♭",
    "number sign": "#", "pipe": "|", "colon": ":", "bc": "BC", "ad": "AD", "ussr": "USSR", "gbp": "£", "euro": "€",
    "pound sterling": "£", "\"": "\"", "' \"": "' \"", "\" '": "\" '", "'\"": "'\"", "\"'": "\"'", "-\"": "-\"",
    "-'": "-'", "c.": "c.", "ca.": "c.", "sup2": "²",
}  # fmt: skip
SHIP_PREFIXES = names(
    "uss|hms|hmas|hmcs|hmnzs|hmt|hmsas|hmis|sms|ss|ms|mv|rms|mts|mt|usat|usns|uscgc|usav|orp|iss|ins|bap|ara|hnoms|"
    "hdms|hswms|hnlms|hmns|rfa|mvs|sts|fs|emb|hmhs|hmhts|psq|ps|gts|ts|ns|usc&gs|hmy|smu"
)
LANGUAGES = {
    "ar": "Arabic", "az": "Azerbaijani", "be": "Belarusian", "bg": "Bulgarian", "bn": "Bengali", "bs": "Bosnian",
    "ca": "Catalan", "cs": "Czech", "cy": "Welsh", "da": "Danish", "de": "German", "el": "Greek", "es": "Spanish",
    "et": "Estonian", "eu": "Basque", "fa": "Persian", "fi": "Finnish", "fr": "French", "ga": "Irish", "gr": "Greek",
    "grc": "Ancient Greek", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian", "hy": "Armenian",
    "id": "Indonesian", "is": "Icelandic", "it": "Italian", "ja": "Japanese", "ka": "Georgian", "kk": "Kazakh",
    "ko": "Korean", "la": "Latin", "lt": "Lithuanian", "lv": "Latvian", "mk": "Macedonian", "mn": "Mongolian",
    "ms": "Malay", "mt": "Maltese", "my": "Burmese", "nl": "Dutch", "no": "Norwegian", "pl": "Polish",
    "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sa": "Sanskrit", "sh": "Serbo-Croatian", "sk": "Slovak",
    "sl": "Slovene", "sq": "Albanian", "sr": "Serbian", "sv": "Swedish", "ta": "Tamil", "th": "Thai", "tl": "Tagalog",
    "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu", "uz": "Uzbek", "vi": "Vietnamese", "yi": "Yiddish",
    "zh": "Chinese", "nah": "Nahuatl", "fil": "Filipino", "af": "Afrikaans",
}  # fmt: skip
