"""Formulas of the site: MathML of each, and a font that sets them."""

from fontTools.ttLib import TTFont

from helpers.course.site_math import DISTANCES, FONT, THIN_SPACE, Formula, convert_formulas, write_font


def test_each_formula_becomes_mathml_in_order_and_an_unreadable_one_nothing():
    formulas = [Formula(r"\frac{a}{b} < c", True), Formula(r"\frac{a}{b", False), Formula("w'", False)]
    fraction, broken, prime = convert_formulas(formulas)
    assert fraction.startswith('<math display="block"')
    assert "<mfrac><mi>a</mi><mi>b</mi></mfrac>" in fraction
    assert "annotation" not in fraction
    assert broken == ""
    assert 'display="inline"' in prime
    assert '<mo class="prime">′</mo>' in prime


def test_an_argument_without_brackets_stands_apart_from_its_function():
    plain, bracketed = convert_formulas([Formula(r"\log 2", False), Formula(r"\log(2)", False)])
    assert f"log</mi><mo>&#8289;</mo></mrow>{THIN_SPACE}<mn>2</mn>" in plain
    assert THIN_SPACE not in bracketed


def test_a_brace_under_each_term_becomes_a_line():
    (terms,) = convert_formulas([Formula(r"\underbrace{1 + 2}_{\text{backbone}} + \underbrace{3}_{\text{head}}", True)])
    assert '<munder><mrow class="brace"><mrow><mn>1</mn><mo>+</mo><mn>2</mn></mrow></mrow><mtext' in terms
    assert '<munder><mrow class="brace"><mn>3</mn></mrow><mtext' in terms
    assert "⏟" not in terms


def test_no_formulas_need_no_pandoc():
    assert convert_formulas([]) == []


def test_the_font_gets_distances_that_the_original_lacks(tmp_path):
    write_font(tmp_path / "formulas.ttf")
    original, font = TTFont(FONT), TTFont(tmp_path / "formulas.ttf")
    assert original["MATH"].table.MathConstants.SuperscriptShiftUp.Value == 0
    for name, distance in DISTANCES.items():
        value = getattr(font["MATH"].table.MathConstants, name).Value
        assert value == round(distance * 2048)
        assert value > 0
