"""Words that no language has, spelt as each language spells: text without a corpus.

eSpeak NG turns letters into phones by each language's own rules, so syllables made of its usual onsets,
nuclei and codas give its sounds, its rhythm and most of its phone sequences.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spelling:
    """How the syllables of a language are spelt.

    Attributes
    ----------
    onsets, nuclei, codas : str
        Spellings, separated by spaces.
    closed : float
        Share of syllables that have a coda.
    """

    onsets: str
    nuclei: str
    codas: str
    closed: float = 0.35

    def word(self, generator: np.random.Generator) -> str:
        """A word of one to four syllables."""
        return "".join(self._syllable(generator) for _ in range(1 + generator.binomial(3, 0.35)))

    def _syllable(self, generator: np.random.Generator) -> str:
        onset = generator.choice(self.onsets.split()) if generator.random() < 0.92 else ""
        coda = generator.choice(self.codas.split()) if generator.random() < self.closed else ""
        return f"{onset}{generator.choice(self.nuclei.split())}{coda}"


_ENGLISH = Spelling(
    "b bl br c ch cl cr d dr f fl fr g gl gr h j k l m n p pl pr qu r s sh sk sl sm sn sp st str sw t th "
    "thr tr tw v w wh y z",
    "a a e e i i o o u u ai ay ee ea ie oa oo ou ow oi er ar or ir aw ur",
    "b ck d ft g k ks l ll lf lt m mp n nd ng nk nt p r rd rn rt s ss sh st t tch th ve x ze",
    0.6,
)

# eSpeak NG's voice names. Languages with a script of its own are written in it.
LANGUAGES: dict[str, Spelling] = {
    "en-us": _ENGLISH,
    "en-gb-x-rp": _ENGLISH,
    "af": Spelling(
        "b br d dr f g gr h j k kl kr l m n p r s sk sl sp st t tr v w",
        "a aa e ee i ie o oo u uu oe ei ou eu ui",
        "d f g k l m n ng nt p r rs s st t",
    ),
    "ar": Spelling(
        "ب ت ث ج ح خ د ذ ر ز س ش ص ض ط ظ ع غ ف ق ك ل م ن ه و ي",
        "َ ِ ُ َا ِي ُو",
        "ب ت د ر س ش ف ق ك ل م ن",
    ),
    "ca": Spelling(
        "b c d f g gu j l ll m n ny p qu r s t tr v x z",
        "a e i o u ai ei ou au",
        "c l m n r s t ns",
    ),
    "cmn-latn-pinyin": Spelling(
        "b p m f d t n l g k h j q x zh ch sh r z c s y w",
        "a1 a2 a3 a4 e1 e4 i1 i2 i3 i4 u1 u2 u3 u4 ai4 ei2 ao3 ou1 an1 an4 en2 ang1 ang4 eng2 ong1",
        "",
        0.0,
    ),
    "cs": Spelling(
        "b c č d ď dr f h ch j k kr l m n ň p pr r ř s š st t ť tr v z ž",
        "a á e é ě i í o u ů y ý ou",
        "c d k l m n r s t v z",
    ),
    "cy": Spelling(
        "b c ch d dd f ff g gl gw h l ll m n p ph r rh s t th w",
        "a e i o u w y ae ai aw ei oe",
        "ch d dd f l ll n r s th",
    ),
    "de": Spelling(
        "b bl br d dr f fl fr g gl gr h j k kl kn kr l m n p pf pl pr qu r s sch schl schw sp spr st str "
        "t tr w z zw",
        "a a e e i o u ä ö ü ei ie au eu äu aa ee",
        "b ch ck d f ft g l m mpf n nd ng nk ns r rt s sch st t tz",
        0.5,
    ),
    "el": Spelling("β γ δ ζ θ κ λ μ ν ξ π ρ σ τ φ χ ψ μπ ντ", "α ά ε έ ι ί ο ό ου αι ει", "ν ς ρ"),
    "eo": Spelling(
        "b c ĉ d dr f g ĝ h ĵ j k kl kr l m n p pl pr r s ŝ sk st t tr v z",
        "a e i o u aŭ eŭ aj oj",
        "j k l m n r s t",
    ),
    "es": Spelling(
        "b bl br c ch cl cr d f fl fr g gr gu h j l ll m n ñ p pl pr qu r s t tr v y z",
        "a e i o u ia ie ue ai ei",
        "d l n r s z",
    ),
    "eu": Spelling(
        "b d g h j k l ll m n ñ p r s t ts tx tz x z", "a e i o u ai ei au", "k l n r s t tz z"
    ),
    "fi": Spelling(
        "h j k l m n p r s t v",
        "a aa e ee i ii o oo u uu y yy ä ää ö ai ei uo yö ie",
        "l n r s t k",
    ),
    "fr": Spelling(
        "b bl br c ch cl cr d dr f fl fr g gl gn gr j l m n p pl pr qu r s t tr v vr z",
        "a e é è ê i o u ou eu au ai oi an en in on un ui",
        "c f l lle r re s se t te me ne ge che",
    ),
    "hi": Spelling(
        "क ख ग घ च छ ज झ ट ठ ड ढ त थ द ध न प फ ब भ म य र ल व श स ह",
        "ा ि ी ु ू े ै ो ौ ां",
        "न म र ल स त क",
    ),
    "hu": Spelling(
        "b c cs d f g gy h j k l m n ny p r s sz t ty v z zs",
        "a á e é i í o ó ö ő u ú ü ű",
        "k l m n r s t z gy",
    ),
    "id": Spelling(
        "b c d g h j k l m n ng ny p r s t w y", "a a e i o u ai au", "h k l m n ng p r s t"
    ),
    "it": Spelling(
        "b br c ch d f fr g gh gl gn gr l m n p pr qu r s sc sp st str t tr v z bb cc dd ll mm nn ss tt zz",
        "a e i o u ia io ie uo",
        "l n r s",
        0.2,
    ),
    "ka": Spelling(
        "ბ გ დ ვ ზ თ კ ლ მ ნ პ ჟ რ ს ტ ფ ქ ღ ყ შ ჩ ც ძ წ ჭ ხ ჯ ჰ", "ა ე ი ო უ", "ბ დ ვ ლ მ ნ რ ს თ"
    ),
    "ku": Spelling(
        "b c ç d f g h j k l m n p q r s ş t v w x y z",
        "a e ê i î o u û",
        "k l m n r s ş t v z n d",
    ),
    "nl": Spelling(
        "b bl br d dr f g gr h j k kl kn l m n p pl r s sch sl sp st str t tr v w z",
        "a aa e ee i ie o oo u uu oe ei ij ou eu ui",
        "ch d f g k l m n ng nk p r rt s st t",
        0.5,
    ),
    "pl": Spelling(
        "b c cz ć d dz f g h j k kr l ł m n ń p prz r rz s sz ś st t tr w z ź ż",
        "a ą e ę i o ó u y ie ia",
        "c ch cz d k l m n r s ść t w",
    ),
    "pt-br": Spelling(
        "b br c ch d f g gr j l lh m n nh p pr qu r s t tr v z",
        "a e i o u ão ã é ê ó ai ei ou",
        "l m n r s z",
    ),
    "ro": Spelling(
        "b c ch d f g gh h j l m n p pr r s ș st t ț tr v z",
        "a ă â e i o u ea oa ia",
        "c l m n r s t",
    ),
    "ru": Spelling(
        "б в г гр д ж з к кр л м н п пр р с ст т тр ф х ц ч ш щ",
        "а е ё и о у ы э ю я",
        "в й к л м н р с т ть х",
    ),
    "sv": Spelling(
        "b bl br d dr f fl fr g h j k kl kr l m n p r s sj sk sl st t tj tr v",
        "a e i o u y å ä ö",
        "d g k l ll m n ng nn r rt s st t",
    ),
    "sw": Spelling(
        "b ch d dh f g gh h j k l m mb mw n nd ng ny nj p r s sh t th v w y z",
        "a e i o u",
        "m",
        0.05,
    ),
    "tr": Spelling(
        "b c ç d f g h j k l m n p r s ş t v y z", "a e ı i o ö u ü", "k l m n r s ş t y z"
    ),
    "vi": Spelling(
        "b c ch d đ g gi h kh l m n ng nh ph qu r s t th tr v x",
        "a á à ã ạ e ê ế i í o ó ô ồ ơ u ú ư ừ ai ao oi ươ iê",
        "c ch m n ng nh p t",
    ),
}


def write_text(language: str, generator: np.random.Generator) -> str:
    """An utterance of one to seven words; short ones are the most frequent."""
    count = 1 + generator.binomial(6, generator.uniform(0, 0.8))
    words = [LANGUAGES[language].word(generator) for _ in range(count)]
    return "".join(word + (", " if generator.random() < 0.15 else " ") for word in words).rstrip(
        ", "
    )
